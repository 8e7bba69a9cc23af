"""What the command line may say, and what is answered when it says something else.

Wrong usage is a PgtandemError as every other failure: exit code 2 means "changes pending" or "something is wrong" here,
never "mistyped". Options are never guessed from their first letters: `down --d` must not remove data.
"""

import argparse
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from pgtandem import __version__

if TYPE_CHECKING:
    from pgtandem.errors import PgtandemError

_DESCRIPTION = "Builds PostgreSQL streaming-replication clusters and keeps them right."

_EPILOG = """\
examples:
  pgtandem up                 a primary and a standby in this folder, streaming
  pgtandem status             who streams from whom, and what is wrong
  pgtandem -f shop.toml plan  what apply would do for another topology file
  pgtandem COMMAND --help     more about one command

The topology file is pgtandem.toml in this folder, or what -f names. Exit codes:
0 fine or converged, 2 changes pending (plan), something wrong (status, doctor)
or declined, 10 and above errors (docs/errors.md). NO_COLOR is honoured.
"""

#: Commands with what they do, and examples.
COMMANDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "up": (
        "build a primary and a standby on this machine and prove that they work",
        "Without a topology file it writes one first. Where the cluster is there already, "
        "it starts and changes what is not as the file says.",
        ("pgtandem up", "pgtandem up --yes demo"),
    ),
    "status": (
        "show who streams from whom, and what is wrong",
        "Exit code 0 when every node is up and streaming, 2 when something is wrong.",
        ("pgtandem status", "pgtandem status --json", "pgtandem status --watch 5"),
    ),
    "doctor": (
        "look for the traps of streaming replication",
        "Each finding says what was seen, why it matters and what to do. Exit code 0 when there is none, 2 when "
        "there is any; notes do not count.",
        ("pgtandem doctor", "pgtandem doctor --json", "pgtandem doctor explain REP13"),
    ),
    "plan": (
        "show what apply would do, and change nothing",
        "Exit code 0 when there is nothing to do, 2 when there are changes.",
        ("pgtandem plan", "pgtandem plan --json"),
    ),
    "whatif": (
        "tell what it would mean if nodes went down now, and change nothing",
        "From what is seen now: do writes stop, who would be promoted, what would be lost, what becomes of the others. "
        "Exit code 0 whatever the answer is.",
        ("pgtandem whatif db1-down", "pgtandem whatif db1-down db2-down", "pgtandem whatif zone:tokyo-a-down"),
    ),
    "apply": (
        "make the cluster what the topology file says",
        "It shows the plan and asks first. Stopped half way, the same command goes on where it was.",
        ("pgtandem apply", "pgtandem -f shop.toml apply --yes"),
    ),
    "switchover": (
        "make another node the primary, without losing a row",
        "The primary is stopped, the other node has everything and takes over, and every node follows it. "
        "It shows the plan and asks first. Stopped half way, the same command goes on where it was.",
        ("pgtandem switchover", "pgtandem switchover --to db2 --yes"),
    ),
    "failover": (
        "make a standby the primary where the primary is gone",
        "The standby that received the most takes over; the old primary can only come back as a standby. "
        "It says what may be lost, and asks first.",
        ("pgtandem failover", "pgtandem failover --to db2 --yes"),
    ),
    "rejoin": (
        "bring a former primary back as a standby",
        "What only it has is kept aside and reported; then pg_rewind takes it back, or its data is copied anew. "
        "It shows the plan and asks first.",
        ("pgtandem rejoin db1", "pgtandem rejoin db1 --copy --yes"),
    ),
    "history": (
        "show what was done to this cluster, by whom, and what was refused",
        "It reads the journal beside the topology file and asks no host.",
        ("pgtandem history", "pgtandem history --last 3", "pgtandem history --json"),
    ),
    "init": (
        "write a commented pgtandem.toml to begin with",
        "It overwrites nothing and builds nothing.",
        ("pgtandem init", 'pgtandem init --standbys 2 --synchronous "any 1" shop'),
    ),
    "psql": (
        "open psql on the cluster",
        "What follows the options of pgtandem is given to psql as it is.",
        (
            "pgtandem psql",
            'pgtandem psql -c "SELECT now()"',
            "pgtandem psql --read-only shop -f report.sql",
            "pgtandem -f shop.toml psql",
        ),
    ),
    "uri": (
        "print a connection URI that survives role changes",
        "It names every node and the file that holds the password, never the password itself.",
        ('psql "$(pgtandem uri)"', "pgtandem uri --read-only"),
    ),
    "down": (
        "stop the cluster; with --destroy, remove it",
        "It shows the plan and asks first. --destroy removes only what pgtandem made;\nthe topology file stays.",
        ("pgtandem down", "pgtandem down --destroy demo"),
    ),
}

#: Those that change the cluster.
CHANGING = ("up", "apply", "switchover", "failover", "rejoin", "down")

#: What belongs to pgtandem between "psql" and the first word that is psql's own.
_PSQL_FLAGS = ("--read-write", "--read-only")


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        words = message.removeprefix("argument ").replace("expected one argument", "a value is missing")
        raise _wrong(words.replace("not allowed with argument", "cannot be given together with"), f"{self.prog} --help")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; `command` is None where there is none. Raises PgtandemError PT-1006, or SystemExit after --help."""
    top, subs = parsers()
    before, command, after = _split(arguments)
    if command == "help":
        before, command, after = (["--help"], None, []) if not after else (before, after[0], ["--help"])
    if command is None:
        options, unknown = top.parse_known_args(before)
        if unknown:
            _refuse_unknown("pgtandem", unknown[0], top)
        return options
    if command not in COMMANDS:
        raise _mistyped(f'there is no command "{command}"', command, COMMANDS, "pgtandem ", "pgtandem --help")
    own, rest = _split_psql(after) if command == "psql" else (after, [])
    options, unknown = top.parse_known_args([*before, command, *own])
    if unknown:
        _refuse_unknown(command, unknown[0], subs[command])
    options.file = getattr(options, "file_after", None) or options.file
    options.arguments = rest
    return options


def parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole line, and the one of each command."""
    subs: dict[str, argparse.ArgumentParser] = {}
    top = _Parser(
        prog="pgtandem",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"pgtandem {__version__}")
    top.add_argument("-f", "--file", metavar="FILE", help="the topology file (pgtandem.toml here by default)")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (summary, more, examples) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description="\n".join((f"{summary[:1].upper()}{summary[1:]}.", *textwrap.wrap(more, 78))),
            epilog="\n".join(("examples:", *(f"  {line}" for line in examples))),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name != "psql":  # psql has a -f of its own
            sub.add_argument("-f", "--file", metavar="FILE", dest="file_after", help="the topology file")
        _ADD.get(name, _nothing_more)(sub)
        if name in ("status", "doctor", "plan", "whatif", "history", "uri"):
            sub.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
        if name in (*CHANGING, "plan", "status", "doctor", "whatif"):
            sub.add_argument(
                "--accept-new-host-keys",
                action="store_true",
                help="take the SSH key of a host that is not known yet without asking",
            )
        if name in CHANGING:
            sub.add_argument("-y", "--yes", action="store_true", help="do not ask")
        subs[name] = sub
    return top, subs


def _nothing_more(sub: argparse.ArgumentParser) -> None:
    """For commands that have no options of their own."""


def _up(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("directory", nargs="?", metavar="DIR", help="the cluster's folder (this one by default)")


def _down(sub: argparse.ArgumentParser) -> None:
    _up(sub)
    sub.add_argument("--destroy", action="store_true", help="remove the data and the archive that pgtandem made")


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


def _failover(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--to", metavar="NODE", help="the new primary (the standby that received the most by default)")
    sub.add_argument(
        "--the-primary-is-dead",
        action="store_true",
        help="go on although a node cannot be reached: if it lives, there are two primaries",
    )


def _rejoin(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("node", metavar="NODE", help="the node that comes back")
    sub.add_argument("--copy", action="store_true", help="copy it anew, even where pg_rewind would do")


def _status(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--watch", type=_seconds, nargs="?", const=2.0, metavar="SECONDS", help="again and again, every 2 s by default"
    )


def _doctor(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("explain", nargs="?", metavar="explain", help="tells about one rule, or lists all of them")
    sub.add_argument("rule", nargs="?", metavar="ID", help="the rule to explain")


def _history(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--last", type=_count, metavar="N", help="only so many (10; all with --json)")


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


_ADD = {
    "up": _up,
    "whatif": _whatif,
    "switchover": _switchover,
    "failover": _failover,
    "rejoin": _rejoin,
    "down": _down,
    "status": _status,
    "doctor": _doctor,
    "history": _history,
    "init": _init,
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


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds, 0.1 or more')
    return seconds


def _split(arguments: Sequence[str]) -> tuple[list[str], str | None, list[str]]:
    """What stands before the command, the command, what stands after it."""
    skip = False
    for at, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument in ("-f", "--file"):
            skip = True
        elif not argument.startswith("-"):
            return list(arguments[:at]), argument, list(arguments[at + 1 :])
    return list(arguments), None, []


def _split_psql(after: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is pgtandem's, and what is psql's: from the first word on that pgtandem does not know, or after "--"."""
    at = 0
    while at < len(after):
        word = after[at]
        if word == "--":
            return list(after[:at]), list(after[at + 1 :])
        if word == "--node":
            at += 2
        elif word in (*_PSQL_FLAGS, "-h", "--help") or word.startswith("--node="):
            at += 1
        else:
            break
    own, rest = list(after[:at]), list(after[at:])
    _refuse_almost_ours(rest)
    if rest[:1] in (["-f"], ["--file"]) and rest[1:2] and rest[1].endswith(".toml"):
        raise _wrong(
            f"psql would run {rest[1]} as a file of SQL",
            why="After the command, -f is an option of psql.",
            next_step=f"pgtandem -f {_quoted(rest[1])} psql",
        )
    return own, rest


def _refuse_almost_ours(rest: Sequence[str]) -> None:
    """Raises for a first word that is an option of pgtandem but for a slip; psql has none that is so near."""
    if rest and rest[0].startswith("--") and len(rest[0]) > 4:
        import difflib

        close = difflib.get_close_matches(rest[0].partition("=")[0], (*_PSQL_FLAGS, "--node"), 1, 0.85)
        if close:
            raise _wrong(f'psql has no option "{rest[0]}"', next_step=f'did you mean "{close[0]}"?')


def _refuse_unknown(command: str, word: str, sub: argparse.ArgumentParser) -> NoReturn:
    """Raises for the first word that a command does not know."""
    helps = f"{sub.prog} --help"
    if word.startswith("-"):
        import re

        option, known = word.partition("=")[0], re.findall(r"--[a-z-]+", sub.format_help())
        raise _mistyped(f'{command} has no option "{option}"', option, known, "", helps)
    takes_folder = command in ("status", "plan", "apply", "uri")
    instead = f"pgtandem -f {_quoted(word)} {command}   (if that is the cluster's folder)" if takes_folder else helps
    raise _wrong(f'{command} does not know what to do with "{word}"', next_step=instead)


def _mistyped(what: str, word: str, known: Iterable[str], before: str, otherwise: str) -> "PgtandemError":
    import difflib

    close = difflib.get_close_matches(word, list(known), 1)
    return _wrong(what, next_step=f'did you mean "{before}{close[0]}"?' if close else otherwise)


def _wrong(what: str, next_step: str, why: str = "") -> "PgtandemError":
    from pgtandem.errors import PgtandemError

    return PgtandemError("PT-1006", what, why=why, next_step=next_step)


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
