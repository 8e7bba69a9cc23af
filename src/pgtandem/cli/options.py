"""The options of each command, and the types of their values."""

import argparse
from collections.abc import Callable


def nothing_more(sub: argparse.ArgumentParser) -> None:
    """For commands that have no options of their own."""


def _up(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("directory", nargs="?", metavar="DIR", help="the cluster's folder (this one by default)")


def _down(sub: argparse.ArgumentParser) -> None:
    _up(sub)
    sub.add_argument("--destroy", action="store_true", help="remove the data and the archive that pgtandem made")


def _apply(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--rotate-passwords",
        action="store_true",
        help="give the superuser and the replication role new passwords, on every node",
    )


def _whatif(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "failures",
        nargs="+",
        metavar="FAILURE",
        help="NODE-down, host:ADDRESS-down, zone:ZONE-down; several happen at once",
    )


def _switchover(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--to", metavar="NODE", help="the new primary (the best standby by default)")
    sub.add_argument(
        "--max-lag-bytes", type=_number, metavar="N", help="how far it may be behind when this begins (16 MB)"
    )
    sub.add_argument("--max-lag-seconds", type=_number, metavar="S", help="the same in time (10 s)")
    sub.add_argument(
        "--max-pause-seconds", type=_seconds, metavar="S", help="how long clients of a PgBouncer may wait (30 s)"
    )
    sub.add_argument("--at", metavar="TIME", help="wait until then: 14:30, or 2026-11-26T02:00 with or without a zone")


def _failover(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--to", metavar="NODE", help="the new primary (the standby that received the most by default)")
    sub.add_argument(
        "--the-primary-is-dead",
        action="store_true",
        help="go on although a node cannot be reached: if it lives, there are two primaries",
    )
    sub.add_argument(
        "--the-archive-is-lost",
        action="store_true",
        help="go on although the archive cannot be asked: commits that it alone had confirmed are lost",
    )


def _rejoin(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("node", metavar="NODE", help="the node that comes back")
    sub.add_argument("--copy", action="store_true", help="copy it anew, even where pg_rewind would do")


def _archive(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("action", nargs="?", metavar="ACTION", help="list (by default), verify, or prune")


def _backup(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("action", nargs="?", metavar="ACTION", help="list, or verify; without it a backup is taken")
    sub.add_argument("labels", nargs="*", metavar="LABEL", help="after verify: the backups to read back (all)")
    kind = sub.add_mutually_exclusive_group()
    kind.add_argument("--full", action="store_true", help="all of the data, whatever [backup] says")
    kind.add_argument("--incremental", action="store_true", help="only what changed since the last one (17 and later)")
    sub.add_argument("--from", dest="source", metavar="NODE", help="take it from this node")


def _restore(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--to", metavar="TARGET", help="latest, a time, an LSN, xid:NUMBER, or name:RESTORE-POINT; without it: a list"
    )
    sub.add_argument("--names", action="store_true", help="without --to: reads the WAL for named restore points too")
    where = sub.add_mutually_exclusive_group()
    where.add_argument("--into", metavar="DIR", help="the folder (by default beside the data of the node it is like)")
    where.add_argument(
        "--node", metavar="NODE", help="replace this node's data with it: the whole cluster goes back to that moment"
    )
    sub.add_argument("--like", metavar="NODE", help="the node whose host and programs are used")
    sub.add_argument("--port", type=_port, metavar="PORT", help="where the restored server listens (the next free one)")
    sub.add_argument("--timeline", type=_count, metavar="N", help="the timeline to follow (the newest)")
    sub.add_argument("--backup", metavar="LABEL", help="the backup to begin with (the newest before the target)")
    sub.add_argument("--promote", action="store_true", help="end the recovery there, so that it takes writes")


def _drill(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--query", metavar="SQL", default="", help="ask the restored server this, and show the answer")
    sub.add_argument("--database", metavar="NAME", help="where the query is asked (postgres)")
    sub.add_argument(
        "--into", metavar="DIR", help="the scratch folder (by default beside the data of the node it is like)"
    )
    sub.add_argument("--like", metavar="NODE", help="the node whose host and programs are used")
    sub.add_argument("--port", type=_port, metavar="PORT", help="where the restored server listens (the next free one)")
    sub.add_argument("--backup", metavar="LABEL", help="the backup to restore (the last one)")


def _status(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--watch", type=_seconds, nargs="?", const=2.0, metavar="SECONDS", help="again and again, every 2 s by default"
    )


def _top(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--every", type=_seconds, default=1.0, metavar="SECONDS", help="how often it looks (1)")


def _report(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--for",
        type=_duration,
        default=30.0,
        dest="for_seconds",
        metavar="TIME",
        help="how long it looks: 30s, 10min (30s)",
    )
    sub.add_argument(
        "-o", "--output", default="report.html", metavar="FILE", help='where to, "-" to print (report.html)'
    )


def _exporter(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--listen",
        type=_listen,
        default=("127.0.0.1", 9832),
        metavar="ADDRESS:PORT",
        help="where to answer (127.0.0.1:9832)",
    )


def _doctor(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("explain", nargs="?", metavar="explain", help="tells about one rule, or lists all of them")
    sub.add_argument("rule", nargs="?", metavar="ID", help="the rule to explain")
    sub.add_argument(
        "--dsn",
        action="append",
        default=[],
        metavar="DSN",
        help="a server to look at over SQL alone, once per server; then no topology file is read",
    )
    sub.add_argument(
        "--format",
        choices=("text", "json", "sarif", "junit"),
        default="text",
        metavar="FORMAT",
        help="text, json, sarif or junit",
    )


def _history(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--last", type=_count, metavar="N", help="only so many (10; all with --json)")
    sub.add_argument("--journal", action="store_true", help="the journal alone: no host is asked for its timelines")


def _bench(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("what", metavar="WHAT", help="durability")
    sub.add_argument("--seconds", type=_count, default=10, metavar="S", help="how long each level runs (10)")
    sub.add_argument("--clients", type=_count, default=8, metavar="N", help="how many clients write at once (8)")
    sub.add_argument("--scale", type=_count, default=4, metavar="N", help="the scale of pgbench, 16 MB each (4)")
    sub.add_argument("-o", "--output", metavar="FILE", help="also draws a picture (SVG)")


def _init(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("directory", nargs="?", metavar="DIR", help="where to (this folder by default)")
    sub.add_argument("--name", help="the cluster's name (the folder's by default)")
    sub.add_argument("--standbys", type=_number, metavar="N", help="how many standbys on this machine (1)")
    sub.add_argument(
        "--host",
        action="append",
        default=[],
        dest="hosts",
        metavar="URL",
        help="ssh://[user@]address[:port]: a node there; once per node, the primary first",
    )
    sub.add_argument("--postgresql", type=_number, default=18, metavar="MAJOR", help="the major version (18)")
    sub.add_argument("--binaries", metavar="WHERE", help="auto, embedded, system, or a folder of programs (auto)")
    sub.add_argument("--port", type=_number, metavar="PORT", help="the first port to try (5432)")
    sub.add_argument(
        "--durability", default="on", metavar="LEVEL", help="off, local, remote_write, on, remote_apply (on)"
    )
    sub.add_argument("--synchronous", default="none", metavar="WHO", help='none, "first N" or "any N" (none)')
    sub.add_argument("--no-archive", action="store_true", help="without a WAL archive")


def _adopt(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("directory", nargs="?", metavar="DIR", help="where to write it (this folder by default)")
    sub.add_argument(
        "--host",
        action="append",
        default=[],
        dest="hosts",
        metavar="URL",
        help="local, or ssh://[user@]address[:port]; ,port=N or ,data_directory=PATH after it means one server of it",
    )
    sub.add_argument(
        "--dsn", action="append", default=[], metavar="DSN", help="a server by its connection URI; its host over SSH"
    )
    sub.add_argument("--name", help="the cluster's name (the folder's by default)")
    sub.add_argument(
        "--ask-password", action="store_true", help="ask for the password of the superuser postgres at once"
    )


def _uri(sub: argparse.ArgumentParser) -> None:
    which = sub.add_mutually_exclusive_group()
    which.add_argument("--read-write", action="store_true", help="to the primary, whoever that is (default)")
    which.add_argument("--read-only", action="store_true", help="to a standby, or the primary if there is none")
    which.add_argument("--node", metavar="NAME", help="to this node")


def _psql(sub: argparse.ArgumentParser) -> None:
    _uri(sub)
    sub.usage = (
        "pgtandem psql [-h] [--read-write | --read-only | --node NAME]\n"
        "                     [--] [DBNAME | OPTION OF PSQL ...]"
    )


#: Adds the options of a command to its parser.
ADD_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "up": _up,
    "apply": _apply,
    "whatif": _whatif,
    "switchover": _switchover,
    "failover": _failover,
    "rejoin": _rejoin,
    "archive": _archive,
    "backup": _backup,
    "restore": _restore,
    "drill": _drill,
    "down": _down,
    "status": _status,
    "top": _top,
    "report": _report,
    "exporter": _exporter,
    "doctor": _doctor,
    "history": _history,
    "bench": _bench,
    "init": _init,
    "adopt": _adopt,
    "uri": _uri,
    "psql": _psql,
}


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number') from None


def _count(text: str) -> int:
    if (number := _number(text)) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not 1 or more')
    return number


def _port(text: str) -> int:
    if not 1 <= (number := _number(text)) <= 65535:
        raise argparse.ArgumentTypeError(f'"{text}" is no port: they are 1 to 65535')
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds, 0.1 or more')
    return seconds


def _listen(text: str) -> tuple[str, int]:
    """ "127.0.0.1:9832", "[::1]:9832", ":9832" for every address, "9832" for the loopback address."""
    address, _, port = text.rpartition(":")
    if ":" not in text:
        address = "127.0.0.1"
    elif not address:
        address = "0.0.0.0"
    elif address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif ":" in address:
        raise argparse.ArgumentTypeError(f'"{text}" is not ADDRESS:PORT; IPv6 is written as [::1]:9832')
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f'"{text}" is not ADDRESS:PORT, with a port up to 65535')
    return address, int(port)


def _duration(text: str) -> float:
    """ "30s", "10min", "2h", "30": seconds."""
    number, unit = text.rstrip("abcdefghijklmnopqrstuvwxyz"), text.lstrip("0123456789.")
    factor = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}.get(unit)
    try:
        seconds = float(number) * (factor or 0)
    except ValueError:
        seconds = -1
    if factor is None or not 0 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time such as 30s, 10min or 2h')
    return seconds
