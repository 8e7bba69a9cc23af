"""What the command line may say, and what is answered when it says something else.

Wrong usage is a PgtandemError as every other failure: exit code 2 means "changes pending" or "something is wrong" here,
never "mistyped". Options are never guessed from their first letters: `down --d` must not remove data.
"""

import argparse
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from pgtandem import __version__
from pgtandem.cli.options import ADD_OPTIONS, nothing_more
from pgtandem.cli.usage import COMMANDS

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

#: What belongs to pgtandem between "psql" and the first word that is psql's own.
_PSQL_FLAGS = ("--read-write", "--read-only")


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        words = message.removeprefix("argument ").replace("expected one argument", "a value is missing")
        raise _wrong(words.replace("not allowed with argument", "cannot be given together with"), f"{self.prog} --help")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; `command` is None where there is none. Raises PgtandemError PT-1006, or SystemExit after --help."""
    before, command, after = _split(arguments)
    if command == "help":
        before, command, after = (["--help"], None, []) if not after else (before, after[0], ["--help"])
    # All of them take longer than a server takes to answer: only where all are shown.
    top, subs = parsers((command,) if command in COMMANDS else COMMANDS)
    if command is None:
        options, unknown = top.parse_known_args(before)
        if unknown:
            _refuse_unknown("pgtandem", unknown[0], top)
        return options
    if command not in COMMANDS:
        raise _mistyped(f'there is no command "{command}"', command, COMMANDS, "pgtandem ", "pgtandem --help")
    own, rest = _split_psql(after) if command == "psql" else (after, [])
    options, unknown = top.parse_known_args([*before, command, *own])
    # What looks like a host is no folder, and none is made of it.
    hosts = [word for word in (getattr(options, "directory", None), *unknown) if word and "://" in word]
    if hosts:
        hint = f"pgtandem {command} --host {hosts[0]}" if hasattr(options, "hosts") else f"{subs[command].prog} --help"
        raise _wrong(f'{command}: "{hosts[0]}" is no folder', hint)
    if unknown:
        _refuse_unknown(command, unknown[0], subs[command])
    options.file = getattr(options, "file_after", None) or options.file
    options.arguments = rest
    return options


def parsers(names: Iterable[str] = COMMANDS) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole line, and the one of each of these commands."""
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
    for name in names:
        command = COMMANDS[name]
        sub = commands.add_parser(
            name,
            help=command.summary,
            description="\n".join(
                (f"{command.summary[:1].upper()}{command.summary[1:]}.", *textwrap.wrap(command.more, 78))
            ),
            epilog="\n".join(("examples:", *(f"  {line}" for line in command.examples))),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name != "psql":  # psql has a -f of its own
            sub.add_argument("-f", "--file", metavar="FILE", dest="file_after", help="the topology file")
        ADD_OPTIONS.get(name, nothing_more)(sub)
        if command.json:
            sub.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
        if command.changes or command.asks_hosts:
            sub.add_argument(
                "--accept-new-host-keys",
                action="store_true",
                help="take the SSH key of a host that is not known yet without asking",
            )
        if command.changes:
            sub.add_argument("-y", "--yes", action="store_true", help="do not ask")
        subs[name] = sub
    return top, subs


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
