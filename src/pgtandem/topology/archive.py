"""The table [archive]: where WAL is kept and in which form, or whose commands do that instead."""

from collections.abc import Sequence
from dataclasses import replace

from pgtandem.model.names import STREAM_NAME, slot_name
from pgtandem.model.topology import LOCAL, Archive, Compression, ForeignArchive, Node
from pgtandem.topology.places import read_directory, read_host
from pgtandem.topology.problems import listed
from pgtandem.topology.table import Table
from pgtandem.topology.toml import describe

_GREATEST_LEVEL = {Compression.NONE: 19, Compression.LZ4: 12, Compression.ZSTD: 19}


def read_archive(table: Table, folder: str, nodes: Sequence[Node]) -> Archive | ForeignArchive | None:
    """The WAL archive, on each node's own host where the file does not say otherwise; or another tool's commands. None
    where neither can be read, and then a problem says why."""
    if table.given("command") or table.given("restore"):
        return _read_foreign(table)
    if not table.given("directory"):
        if not table.misspelt("directory"):
            table.report(
                "directory", 'the key "directory" is missing', "It is where WAL is kept.", 'directory = "archive"'
            )
        return None
    archive = _read_place(table, folder, nodes)
    compression, level = Compression(table.text("compression")), table.integer("level")
    greatest = _GREATEST_LEVEL[compression]
    if level is None or not 1 <= level <= greatest:
        what = f"{describe(level)} is not a level of {compression.value}"
        table.report("level", what, f"There are levels from 1 to {greatest}.", "level = 1")
    elif compression is Compression.NONE and table.given("level"):
        table.report("level", "there is a level, and nothing is compressed", next_step='compression = "zstd"')
    stream = _read_stream(table, archive, nodes)
    synchronous = _read_synchronous(table, stream=stream)
    return replace(archive, compression=compression, level=level or 1, stream=stream, synchronous=synchronous)


def _read_synchronous(table: Table, *, stream: bool) -> bool:
    """Whether commits may wait for the stream; whether they wait for anybody says [replication]."""
    if not table.flag("synchronous"):
        return False
    if not stream and table.sound("stream"):
        table.report(
            "synchronous",
            "the archive can only confirm commits that are streamed to it",
            "A segment gets there when it is full: a commit would wait for that.",
            "stream = true beside it, or synchronous = false",
        )
    return True


def _read_stream(table: Table, archive: Archive, nodes: Sequence[Node]) -> bool:
    """Whether WAL is streamed to the archive, where it would outlive the primary there."""
    if not table.flag("stream"):
        return False
    if archive.host is None:
        table.report(
            "stream",
            "the stream needs one place for the archive, and each node archives on its own host",
            "What is streamed to the primary's own disk is lost together with the primary.",
            'host = "ssh://..." under [archive], or stream = false',
        )
    if any(slot_name(node.name) == STREAM_NAME for node in nodes):
        name = next(node.name for node in nodes if slot_name(node.name) == STREAM_NAME)
        what = f'node "{name}" would have the slot of the stream, {STREAM_NAME}'
        table.report("stream", what, next_step=f"call the node [nodes.{name}] something else, or stream = false")
    return True


def _read_foreign(table: Table) -> ForeignArchive | None:
    """Both commands, and nothing of what pgtandem's own archive is told."""
    for name in ("directory", "host", "compression", "level", "stream", "synchronous"):
        if table.given(name):
            table.report(
                name,
                f'"{name}" is for the archive that pgtandem keeps, and "command" gives it to another tool',
                next_step=f"take one of the two out: {name}, or command and restore",
            )
    command, restore = table.text("command"), table.text("restore")
    for name, text, other, needed in (("command", command, "restore", "%p"), ("restore", restore, "command", "%p %f")):
        if not table.given(name):
            why = "A standby that falls behind would have no way to fetch WAL." if name == "restore" else ""
            table.report(name, f'the key "{name}" is missing', why, f"write it beside {other}")
        elif text and table.sound(name) and (lacking := [sign for sign in needed.split() if sign not in text]):
            what = f"{describe(text)} lacks {listed(lacking)}"
            why = "PostgreSQL puts the path of the file in the place of %p, and its name in that of %f (manual, 26.3)."
            table.report(name, what, why)
    return ForeignArchive(command, restore) if command and restore else None


def _read_place(table: Table, folder: str, nodes: Sequence[Node]) -> Archive:
    hosts = list(dict.fromkeys(node.host for node in nodes)) or [LOCAL]
    if table.text("host") is not None:
        host = read_host(table)
        return Archive(read_directory(table, "directory", folder, folder, host), host)
    # A path that means the same on every host.
    away = next((host for host in hosts if not host.is_local), LOCAL)
    return Archive(read_directory(table, "directory", folder, folder, away), hosts[0] if len(hosts) == 1 else None)
