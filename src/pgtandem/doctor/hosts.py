"""Hosts and programs: alike where they must be, with room, and of a version that is cared for."""

from collections.abc import Iterator

from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.model.facts import Known, value_or_none
from pgtandem.model.names import NodeName
from pgtandem.plan.between_hosts import clocks_apart
from pgtandem.plan.minor_versions import runs_older

_SECONDS_PER_DAY = 86400
_FULL_FRACTION, _FULL_BYTES = 0.05, 5 * 1024**3

#: The last day of each major version, as days since 1970 (postgresql.org/support/versioning): 2022-11-10, 2023-11-09,
#: 2024-11-21, 2025-11-13, 2026-11-12, 2027-11-11, 2028-11-09, 2029-11-08, 2030-11-14.
_LAST_DAY = {10: 19306, 11: 19670, 12: 20048, 13: 20405, 14: 20769, 15: 21133, 16: 21497, 17: 21861, 18: 22232}

#: Minor versions that are known to damage data: major to (first good minor, what is wrong below it).
_BAD_MINORS = {
    14: (4, "CREATE INDEX CONCURRENTLY may build a broken index before 14.4"),
}


@rule(
    "HST01",
    Severity.CRITICAL,
    "texts are ordered differently than the indexes were built",
    why="An index on text is searched in an order that the library has changed since: rows are not found, unique keys "
    "are there twice. On a standby of another release that begins with its promotion.",
    fix="the same release of the operating system on all hosts; REINDEX DATABASE, then ALTER DATABASE ... REFRESH "
    "COLLATION VERSION",
)
def collations(look: Look) -> Iterator[Seen]:
    for name, _, examination in look.examinations():
        for database in examination.databases.values():
            recorded, actual = database.collation_recorded, database.collation_actual
            if recorded and actual and recorded != actual:
                yield Seen(name, f"database {database.name} was built with {recorded}, the library is {actual}")
    libraries = {url: host.libc.value for url, host in look.observed.hosts.items() if isinstance(host.libc, Known)}
    locales = sorted({locale for _, server in look.servers() for locale in server.libc_locales})
    if len(set(libraries.values())) > 1 and locales:
        yield Seen(
            None, f"{'; '.join(f'{url}: {libc}' for url, libc in libraries.items())} (locale {', '.join(locales)})"
        )


@rule(
    "HST02",
    Severity.MEDIUM,
    "the clocks of the hosts are apart",
    why="Lag in seconds and recovery targets compare times of different hosts. With clocks apart they are wrong by as "
    "much.",
    fix="NTP (chrony) on every host",
    by_sql=False,
)
def clocks(look: Look) -> Iterator[Seen]:
    apart = clocks_apart(look.topology, look.observed)
    if apart:
        yield Seen(None, apart.partition(":")[0])


@rule(
    "HST03",
    Severity.MEDIUM,
    "a standby runs an older minor version than the primary",
    why="A newer primary may write WAL that an older server replays wrongly; release notes say to update standbys "
    "first. After a failover the cluster has the old bugs back.",
    fix="install the newer packages on the standby's host, then restart it",
)
def older_standby(look: Look) -> Iterator[Seen]:
    primary = look.primary()
    for name, server in look.standbys():
        if primary and server.version_number < primary[1].version_number:
            yield Seen(
                name, f"{_version(server.version_number)}, and {_version(primary[1].version_number)} on {primary[0]}"
            )


@rule(
    "HST16",
    Severity.MEDIUM,
    "a server runs an older version than is installed on its host",
    why="The packages were updated and the server was not restarted: the mistakes that the update mends are still in "
    "force. The next restart, planned or not, changes the version in a moment that nobody chose.",
    fix="pgtandem apply   (restarts one after the other, the primary last)",
    by_sql=False,
)
def waits_for_a_restart(look: Look) -> Iterator[Seen]:
    for name, seen in look.observed.nodes.items():
        if older := runs_older(seen):
            yield Seen(name, older)


@rule(
    "HST17",
    Severity.LOW,
    "nodes run different minor versions",
    why="While an update goes from host to host that is how it looks; when it stays, one of them was forgotten. After "
    "a change of roles the cluster may have a mistake back that seemed to be mended.",
    fix="the same packages on every host, then pgtandem apply",
)
def minor_versions(look: Look) -> Iterator[Seen]:
    versions = {name: server.version_number for name, server in look.servers()}
    same_major = len({number // 10000 for number in versions.values()}) == 1
    if same_major and len(set(versions.values())) > 1:
        yield Seen(None, ", ".join(f"{name} runs {_version(number)}" for name, number in versions.items()))


def _version(number: int) -> str:
    return f"{number // 10000}.{number % 10000}"


@rule(
    "HST04",
    Severity.CRITICAL,
    "nodes were made with different sizes of WAL segments",
    why="Physical replication needs the same layout on both sides. Such a node was not copied from the primary and "
    "cannot follow it.",
    fix="move its data directory away, then pgtandem apply copies it anew",
)
def segment_sizes(look: Look) -> Iterator[Seen]:
    sizes = {name: seen.control.wal_segment_bytes for name, seen in look.observed.nodes.items() if seen.control}
    for name, server in look.servers():
        # In bytes since 11.
        if name not in sizes and server.major >= 11 and (size := look.number(name, "wal_segment_size")) is not None:
            sizes[name] = size
    if len(set(sizes.values())) > 1:
        yield Seen(None, ", ".join(f"{name} has {size // 1024**2} MB" for name, size in sizes.items()))


@rule(
    "HST05",
    Severity.HIGH,
    "an extension in use is not installed on another node's host",
    why="The extension's functions come over by replication, its library does not. Queries that use it fail on that "
    "node, and after a failover everywhere.",
    fix="install the extension's package on that host",
)
def extensions(look: Look) -> Iterator[Seen]:
    used = {extension for _, _, examination in look.examinations() for extension in examination.extensions}
    for name, _, examination in look.examinations():
        missing = used - set(examination.available_extensions)
        # A node that tells of no extension at all tells nothing.
        if missing and examination.available_extensions:
            yield Seen(name, f"{', '.join(sorted(missing))} (in the database postgres)")


@rule(
    "HST07",
    Severity.HIGH,
    "a node's host has too little memory for the shared buffers that it has or may get",
    why="A server that cannot have its shared memory does not start, or is killed when it is needed most. A standby on "
    "a smaller host fails as the primary on the day it becomes one.",
    fix='shared_buffers = "..." under [parameters] in pgtandem.toml, for the smallest host, then pgtandem apply',
    by_sql=False,
)
def memory(look: Look) -> Iterator[Seen]:
    wanted = {name: buffers * _BUFFER_BYTES for name, _ in look.servers() if (buffers := _buffers(look, name))}
    if not wanted:
        return
    greediest = max(wanted, key=lambda name: wanted[name])
    for name, around in look.examined.surroundings.items():
        if around.memory_bytes is not None and wanted[greediest] > around.memory_bytes * _MOST_OF_MEMORY:
            what = f"{_gigabytes(around.memory_bytes)} of memory, and shared_buffers is {_gigabytes(wanted[greediest])}"
            yield Seen(name, f"{what} on {greediest}", look.where(greediest, "shared_buffers"))


_BUFFER_BYTES = 8192
_MOST_OF_MEMORY = 0.6


def _buffers(look: Look, name: NodeName) -> int | None:
    return look.number(name, "shared_buffers")


def _gigabytes(size: int) -> str:
    return f"{size / 1024**3:.1f} GB"


@rule(
    "HST09",
    Severity.CRITICAL,
    "a node's disk is almost full",
    why="A server that cannot write WAL stops at once. It may not even start again before somebody has made room.",
    fix="make room on that disk, but never in pg_wal by hand; see slots and archiving first",
    by_sql=False,
)
def disk_full(look: Look) -> Iterator[Seen]:
    for name, seen in look.observed.nodes.items():
        disk = value_or_none(seen.disk)
        if disk and disk.free_bytes < min(disk.total_bytes * _FULL_FRACTION, _FULL_BYTES):
            free, total = disk.free_bytes / 1024**3, disk.total_bytes / 1024**3
            yield Seen(name, f"{free:.1f} of {total:.0f} GB free at {look.topology.node(name).data_directory}")


@rule(
    "REP29",
    Severity.HIGH,
    "the disk that WAL is written to is almost full, or too small for what slots may keep",
    why="A disk of its own for pg_wal is often the smallest one, and nobody watches it. When it is full, the server "
    "stops.",
    fix="a larger disk for pg_wal, or a lower max_slot_wal_keep_size under [parameters]",
    by_sql=False,
)
def wal_disk(look: Look) -> Iterator[Seen]:
    for name, around in look.examined.surroundings.items():
        disk, data = around.wal_disk, value_or_none(look.observed.nodes[name].disk)
        if disk is None or (data is not None and data.device == disk.device):
            continue
        if disk.free_bytes < min(disk.total_bytes * _FULL_FRACTION, _FULL_BYTES):
            yield Seen(name, f"{_gigabytes(disk.free_bytes)} free of {_gigabytes(disk.total_bytes)} for pg_wal")
            continue
        cap = look.number(name, "max_slot_wal_keep_size") or 0
        if cap * 1024**2 > disk.total_bytes:
            what = f"max_slot_wal_keep_size is {cap} MB, the disk of pg_wal has {_gigabytes(disk.total_bytes)}"
            yield Seen(name, what, look.where(name, "max_slot_wal_keep_size"))


@rule(
    "HST15",
    Severity.MEDIUM,
    "the version of PostgreSQL is not cared for any more, or known to be harmful",
    why="There are no fixes any more for a major version after its last day, not even for security. A minor version "
    "with a known defect damages what later versions would not.",
    fix="install the newest minor version; plan a move to a newer major version",
)
def versions(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        last = _LAST_DAY.get(server.major)
        if last is not None and look.observed.now / _SECONDS_PER_DAY > last + 1:
            yield Seen(name, f"PostgreSQL {server.major} has reached its last day")
        first_good, why = _BAD_MINORS.get(server.major, (0, ""))
        if server.version_number % 10000 < first_good:
            yield Seen(name, f"{_version(server.version_number)}: {why}", severity=Severity.HIGH)
