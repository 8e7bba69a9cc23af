"""Taking base backups: by pg_basebackup in its tar format, into a folder that gets its name when all is proven.

`Step.names` begins with the label, the URL of the host that the backup lies on, and the system identifier.

One tar is compressed and sent on as it comes. Several, one per tablespace, pg_basebackup writes into a folder only:
these are compressed, and sent, one by one when it has ended.
"""

import asyncio
import contextlib
import posixpath
import re
from typing import Any

from pgtandem.apply.backup_folders import LONG_SECONDS, backup_folder
from pgtandem.apply.certificates import root_certificates
from pgtandem.apply.context import Context
from pgtandem.apply.copies import PROGRESS
from pgtandem.apply.node_files import system_identifier
from pgtandem.apply.streamed_copies import rate_option
from pgtandem.errors import PgtandemError, is_full
from pgtandem.model.backup import Backup, BackupKind
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import REPLICATION_ROLE
from pgtandem.model.observed import ObservedNode
from pgtandem.model.plan import Step
from pgtandem.model.topology import HostAddress
from pgtandem.model.value import dataclass
from pgtandem.observe.paths import staging_directory
from pgtandem.observe.wal_ways import used_folder
from pgtandem.plan.backup_room import no_room_for_backup
from pgtandem.ports import Completed, Host, Session
from pgtandem.postgres.base_backups import (
    ABOUT_FILE,
    HELP_FILE,
    MANIFEST_FILE,
    Tar,
    parse_points,
    part_name,
    render_about,
    render_help,
    tars_among,
)
from pgtandem.postgres.certificates import VERIFY
from pgtandem.postgres.conninfo import render_conninfo, render_passfile

#: What lies beside the data directory while it is copied.
BACKUP_MARK = ".pgtandem-backup."
_REPLAY_SECONDS = 120.0

#: KEY-FOLDER TO LABEL COMPRESSION LEVEL PROGRAM ...: what the program writes is compressed where that is asked for, put
#: into the file TO; with a key's folder, to that file of the backup on the archive's host, by the node's own key.
_PUT = """
key=$1 to=$2 label=$3 form=$4 level=$5 made=1 packed=1 put=1
shift 5
ends=$(mktemp) || exit 1
trap 'rm -f "$ends"' EXIT
pack() {
    case $form in
    zstd) zstd -q "-$level" -c ;;
    lz4) lz4 -q "-$level" -c ;;
    *) cat ;;
    esac
}
put() {
    if [ -n "$key" ]; then
        (cd "$key" && exec ssh -F ssh_config -S none -- archive "backup $label ${to##*/}") >/dev/null
    else
        cat >"$to"
    fi
}
{ { "$@"; echo "made=$?" >>"$ends"; } | { pack; echo "packed=$?" >>"$ends"; }; } |
    { put || echo "put=$?" >>"$ends"; }
grep -q '^put=' "$ends" || put=0
. "$ends"
[ "$put" = 0 ] || { echo "error: ${to##*/} could not be written whole" >&2; exit 1; }
[ "$packed" = 0 ] || { echo "error: $form could not compress ${to##*/}" >&2; exit 1; }
exit "$made"
"""


@dataclass(frozen=True, slots=True)
class _Way:
    """How the tars of one backup get to their folder: `key` is the folder of the node's key where that is on another
    host, else ""; `tars` is where pg_basebackup writes them, None where it writes the only one to its stdout."""

    host: Host
    keeper: Host
    folder: str
    key: str
    tars: str | None
    form: tuple[str, str]
    suffix: str

    def put(self, label: str, name: str, argv: list[str]) -> list[str]:
        to = posixpath.join(self.folder, name + self.suffix)
        return ["sh", "-c", _PUT, "sh", self.key, to, label, *self.form, *argv]


async def take_backup(context: Context, step: Step) -> str:
    """pg_basebackup into the half-made folder; `backup.json` in it says that the data is whole. Raises PgtandemError
    PT-4051."""
    label, url, system, _, _ = step.names
    keeper = context.world.host(HostAddress(url))
    folder = backup_folder(context, system, part_name(label))
    await keeper.make_directory(posixpath.dirname(folder))
    await keeper.remove_tree(folder)
    began = await _now(context, step)
    try:
        node = await context.observer.node(step.node)
        outside = node.directory.outside if node.directory else ()
        spaces = {link.rpartition("/")[2] for link in outside if "/" in link}
        after = None
        if spaces:
            after = await _begin_anew(context, step)
        elif step.node != step.upstream and (step.names[4] or await _rests_behind(context, step, node)):
            # An incremental backup must not begin before the end of the one that it continues, and none on a timeline
            # that was left: the segment in which that happened comes into the archive on the next one alone.
            await _begin_anew(context, step)
        way = await _way(context, step, keeper, folder, several=bool(spaces))
        done = await _copy(context, step, way)
        if done.exit_code:
            raise _failed(step, done)
        about = await _about(context, step, keeper, folder, done.stderr.decode(errors="replace"), began)
        if not {oid for oid, _ in about.tablespaces} <= spaces or (after is not None and about.start_lsn < after):
            raise _too_early(step)
        await keeper.sync_tree(folder)
        await keeper.write_file(posixpath.join(folder, ABOUT_FILE), render_about(about).encode())
    except (PgtandemError, asyncio.CancelledError):
        # Its disk space is given back at once; where even that fails, the next run does it.
        with contextlib.suppress(PgtandemError):
            await asyncio.shield(keeper.remove_tree(folder))
        raise
    return f"{about.size_bytes / 1e6:.1f} MB"


async def _rests_behind(context: Context, step: Step, node: ObservedNode) -> bool:
    """Whether a standby's last restartpoint is on an earlier timeline than the primary."""
    assert step.upstream is not None
    primary = await (await context.session(step.upstream)).observe(None)
    return node.control is not None and node.control.timeline != primary.timeline


async def _begin_anew(context: Context, step: Step) -> Lsn:
    """Makes a backup begin after what there is now. One from a standby begins at its last restartpoint, which may be
    long ago; recovery from before a tablespace was made would make that once more, at the path where the cluster has it
    and not where the restored server has its own (decision 0037). Returns where it has to begin at least.
    """
    assert step.upstream is not None
    primary, source = await context.session(step.upstream), await context.session(step.node)
    _, after = await primary.position()
    await primary.checkpoint()
    _, made = await primary.position()
    assert after is not None
    assert made is not None
    if step.node != step.upstream:

        async def test() -> bool | None:
            _, replayed = await source.position()
            return True if replayed is not None and replayed >= made else None

        if not await context.wait(test, _REPLAY_SECONDS):
            raise PgtandemError(
                "PT-4051",
                f"could not take a backup from {step.node}",
                why=f"It did not replay a checkpoint of {step.upstream} within {_REPLAY_SECONDS:.0f} seconds.",
                next_step=f"pgtandem backup --from {step.upstream}",
            )
        await source.checkpoint()
    return after


def _too_early(step: Step) -> PgtandemError:
    return PgtandemError(
        "PT-4051",
        f"could not take a backup from {step.node}",
        why="A tablespace was made while it was copied: recovery would make that once more, where the cluster has it.",
        next_step="pgtandem backup",
    )


async def _way(context: Context, step: Step, keeper: Host, folder: str, *, several: bool) -> _Way:
    archive, host, node = context.topology.archive, context.host(step.node), context.node(step.node)
    assert archive is not None
    here = node.host.url == step.names[1]
    key = "" if here else await used_folder(host, context.topology, step.node, step.names[2])
    tars = None
    if several or (here and not archive.stored_as):
        # A name that the node's half-made copies have: whatever ends this run, the next one of any kind removes it.
        tars = folder if here else staging_directory(node.data_directory, context.world.workspace.token())
    form = archive.stored_as or ("none", "1")
    return _Way(host, keeper, folder, key, tars, (form[0], form[1]), archive.compression.suffix)


async def _copy(context: Context, step: Step, way: _Way) -> Completed:
    """The replication role's password goes by a file of its own beside the data, which is gone afterwards."""
    node, host = context.node(step.node), way.host
    beside = node.data_directory + BACKUP_MARK
    passfile, root, manifest = beside + "passfile", beside + "ca.crt", beside + "manifest"
    conninfo: dict[str, str | int] = {
        "host": node.address,
        "port": node.port,
        "user": REPLICATION_ROLE,
        "passfile": passfile,
        "application_name": "pgtandem backup",
        "connect_timeout": 10,
    }
    if (postmaster := await context.postmaster(step.node)) is not None:
        conninfo["port"] = postmaster.port or node.port
    entry = (node.address, int(conninfo["port"]), REPLICATION_ROLE, context.replication_secret())
    argv = [
        context.program(step, "pg_basebackup"),
        # All in one tar, WAL too, is what can be sent on as it comes.
        *(("-D", way.tars, "-X", "stream") if way.tars else ("-D", "-", "-X", "fetch")),
        *("-F", "tar", "--checkpoint=fast", "--no-sync", "--no-password"),
        *("--label", f"pgtandem {step.names[0]}", "--progress", "--verbose", *rate_option(context)),
    ]
    if context.topology.postgresql >= 13:
        argv.append("--manifest-checksums=SHA256")
    await host.write_file(passfile, render_passfile([entry]).encode())
    session = None
    try:
        if context.topology.tls is not None and context.topology.tls.required:
            conninfo |= {"sslmode": VERIFY, "sslrootcert": root}
            await host.write_file(root, root_certificates(context).encode())
        if parent := step.names[4]:
            path = posixpath.join(backup_folder(context, step.names[2], parent), MANIFEST_FILE)
            await host.write_file(manifest, await way.keeper.read_file(path) or b"")
            argv.append(f"--incremental={manifest}")
        argv += ["-d", render_conninfo(conninfo)]
        if way.tars != way.folder:
            await way.keeper.make_directory(way.folder)
        if way.tars is None:
            session = await _keep_wal(context, step)
            argv = way.put(step.names[0], "base.tar", argv)
        done = await _run_where_it_fits(context, step, way, argv)
        if done.exit_code == 0:
            await _finish(context, step, way)
        return done
    finally:
        if session is not None:
            await session.close()
        for path in (passfile, root, manifest):
            await host.remove_file(path)
        if way.tars not in (None, way.folder):
            await host.remove_tree(way.tars or "")


async def _run_where_it_fits(context: Context, step: Step, way: _Way, argv: list[str]) -> Completed:
    """pg_basebackup, ended at once where the server says that it sends more than there is room for. Nobody knows that
    of what is compressed, or of an incremental backup. Raises PgtandemError PT-3009."""
    free = (await way.keeper.disk_space(way.folder)).free_bytes
    sure = way.form[0] == "none" and step.names[3] == BackupKind.FULL.value
    told, total = asyncio.Event(), 0

    def too_much(said: bytes) -> int:
        total = max((int(each[1]) * 1024 for each in PROGRESS.findall(said)), default=0)
        return total if sure and total > free else 0

    def tell(chunk: bytes) -> None:
        nonlocal total
        _tell(context, step, chunk)
        if total := total or too_much(chunk):
            told.set()

    run = asyncio.ensure_future(way.host.run(argv, deadline_seconds=LONG_SECONDS, on_output=tell))
    waiting = asyncio.ensure_future(told.wait())
    either: set[asyncio.Future[Any]] = {run, waiting}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        # A small one may have filled the disk before anybody could end it.
        if run.done() and (done := await run).exit_code:
            total = total or too_much(done.stderr)
        elif run.done():
            return done
        if total:
            raise no_room_for_backup(context.topology, free, total)
        return await run
    finally:
        for each in either:
            each.cancel()
        await asyncio.wait(either)


async def _keep_wal(context: Context, step: Step) -> Session | None:
    """What is fetched at the end of a backup must not have been removed by then: a slot keeps it, as long as the
    session lives. Where no slot is to be had, it goes without, and pg_basebackup tells if WAL is missing."""
    session = None
    try:
        session = await context.own_session(step.node)
        await session.keep_wal("pgtandem_backup")
    except PgtandemError:
        if session is not None:
            await session.close()
        return None
    return session


async def _finish(context: Context, step: Step, way: _Way) -> None:
    """What was not sent on as it came; and the manifest to where the next incremental backup, and a restore, look."""
    if way.tars is None:
        if context.topology.postgresql >= 13:
            await _take_manifest_out(way)
        return
    tars = tars_among(await way.host.list_directory(way.tars) or ())
    if way.tars != way.folder or way.suffix:
        for tar in tars:
            await _put_tar(step, way, tar)
    if way.tars != way.folder and (text := await way.host.read_file(posixpath.join(way.tars, MANIFEST_FILE))):
        await way.keeper.write_file(posixpath.join(way.folder, MANIFEST_FILE), text)


async def _put_tar(step: Step, way: _Way, tar: Tar) -> None:
    """Each gives its room back as soon as it is there in its other form."""
    path = posixpath.join(way.tars or "", tar.name)
    done = await way.host.run(way.put(step.names[0], tar.name, ["cat", path]), deadline_seconds=LONG_SECONDS)
    if done.exit_code:
        raise _failed(step, done)
    await way.host.remove_file(path)


async def _take_manifest_out(way: _Way) -> None:
    (tar,) = tars_among((f"base.tar{way.suffix}",))
    script = 'cd "$1" && if [ -n "$3" ]; then $3 "$2"; else cat "$2"; fi | tar -x -f - "$4"'
    argv = ["sh", "-c", script, "sh", way.folder, tar.name, tar.unpack, MANIFEST_FILE]
    done = await way.keeper.run(argv, deadline_seconds=LONG_SECONDS)
    if done.exit_code:
        why = f"{tar.name} has no {MANIFEST_FILE}: {done.complaint}"
        raise PgtandemError("PT-4051", "the backup did not come whole", why=why, next_step="pgtandem backup")


def _tell(context: Context, step: Step, chunk: bytes) -> None:
    found = PROGRESS.findall(chunk)
    if found:
        context.report.step_progress(step, int(found[-1][0]) * 1024, int(found[-1][1]) * 1024)


def _failed(step: Step, done: Completed) -> PgtandemError:
    lines = done.stderr.decode(errors="replace").replace("\r", "\n").splitlines()
    said = [line.strip() for line in lines if line.strip() and not re.search(r"\d+/\d+ kB", line)]
    words = ("error:", "FATAL", "ERROR", "serve-wal:", "not found", "No space left")
    errors = [line for line in said if any(word in line for word in words)]
    why = "\n".join(dict.fromkeys((errors or said)[-3:])) or f"pg_basebackup ended with exit code {done.exit_code}."
    return PgtandemError(
        "PT-4051",
        f"could not take a backup from {step.node}",
        why=f"{why}\nWhat it had copied was removed; older backups are as they were.",
        next_step="make room on the archive's disk, then pgtandem backup" if is_full(why) else "pgtandem backup",
    )


async def _about(context: Context, step: Step, keeper: Host, folder: str, said: str, began: float) -> Backup:
    """What is known of it now; the tablespaces' folders are those of the source."""
    label, _, system, kind, parent = step.names
    try:
        start, timeline, stop = parse_points(said)
    except ValueError as error:
        raise PgtandemError("PT-4051", f"could not take a backup from {step.node}", why=f"{error}.") from None
    names = await keeper.list_directory(folder) or ()
    links = [tar.part for tar in tars_among(names) if tar.part.isdigit()]
    host, directory = context.host(step.node), context.node(step.node).data_directory
    spaces = [(oid, await host.read_link(posixpath.join(directory, "pg_tblspc", oid)) or "") for oid in links]
    seen = (await context.observer.node(step.node)).control
    used = await keeper.run(["du", "-sk", folder], deadline_seconds=300)
    if await system_identifier(context, step, directory) != system or seen is None:
        raise PgtandemError("PT-4002", f"{step.node} is another cluster's meanwhile", next_step="pgtandem status")
    about = Backup(
        *(label, BackupKind(kind), step.node, context.topology.cluster, system, context.topology.postgresql),
        *(timeline, start, stop, began, await _now(context, step), seen.wal_segment_bytes),
        parent=parent or None,
        tablespaces=tuple(spaces),
        size_bytes=int(used.text.split()[0]) * 1024 if used.exit_code == 0 else 0,
        data_bytes=int(told[-1][0]) * 1024 if (told := PROGRESS.findall(said.encode())) else 0,
    )
    text = render_help(about, names, posixpath.dirname(posixpath.dirname(folder)))
    await keeper.write_file(posixpath.join(folder, HELP_FILE), text.encode())
    return about


async def _now(context: Context, step: Step) -> float:
    """The time on the primary's host: the one that commits are stamped with."""
    assert step.upstream is not None
    done = await context.host(step.upstream).look(["date", "+%s"])
    try:
        return float(done.text)
    except ValueError:
        return context.world.clock.now()
