"""The command line: reads it, calls the command, turns every failure into words and an exit code."""

import argparse
import sys
from collections.abc import Callable, Sequence

from pgtandem import __version__

_EPILOG = """\
The working directory holds pgtandem.toml, or -f names it. Exit codes: 0 fine or
converged, 2 changes pending (plan) or something wrong (status), 10 and above
errors (docs/errors.md). NO_COLOR is honoured.
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="pgtandem",
        description="Builds PostgreSQL streaming-replication clusters and keeps them right.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"pgtandem {__version__}")
    top.add_argument("-f", "--file", metavar="FILE", help="the topology file (pgtandem.toml here by default)")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, summary: str, *, json: bool = False, yes: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary[:1].upper() + summary[1:] + ".")
        # Where a person puts it: before the command or after it.
        sub.add_argument("-f", "--file", metavar="FILE", dest="file_after", help=argparse.SUPPRESS)
        if json:
            sub.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
        if yes:
            sub.add_argument("-y", "--yes", action="store_true", help="do not ask")
        return sub

    up = command("up", "build a primary and a standby on this machine and prove that they work", yes=True)
    up.add_argument("directory", nargs="?", metavar="DIR", help="where to (this folder by default)")
    down = command("down", "stop the cluster; with --destroy, remove it", yes=True)
    down.add_argument("directory", nargs="?", metavar="DIR", help="where the topology file is (this folder by default)")
    down.add_argument("--destroy", action="store_true", help="remove the data and the archive that pgtandem made")
    init = command("init", "write a commented pgtandem.toml")
    init.add_argument("directory", nargs="?", metavar="DIR", help="where to (this folder by default)")
    init.add_argument("--name", help="the cluster's name (the folder's by default)")
    init.add_argument("--standbys", type=int, default=1, metavar="N", help="how many standbys (1)")
    init.add_argument("--postgresql", type=int, default=18, metavar="MAJOR", help="the major version (18)")
    init.add_argument("--binaries", metavar="WHERE", help="auto, embedded, system, or a folder of programs")
    init.add_argument("--port", type=int, metavar="PORT", help="the first port to try (5432)")
    init.add_argument(
        "--durability", default="on", metavar="LEVEL", help="off, local, remote_write, on, remote_apply (on)"
    )
    init.add_argument("--synchronous", default="none", metavar="WHO", help='"none", "first N" or "any N" (none)')
    init.add_argument("--no-archive", action="store_true", help="without a WAL archive")
    command("plan", "show what apply would do; exit 2 when there is something", json=True)
    command("apply", "make the cluster what the topology file says", yes=True)
    command("status", "show who streams from whom, and what is wrong", json=True)
    uri = command("uri", "print a connection URI that survives role changes", json=True)
    psql = command("psql", "open psql on the cluster")
    for sub in (uri, psql):
        which = sub.add_mutually_exclusive_group()
        which.add_argument("--read-write", action="store_true", help="to the primary, whoever that is (default)")
        which.add_argument("--read-only", action="store_true", help="to a standby, or the primary if there is none")
        which.add_argument("--node", metavar="NAME", help="to this node")
    psql.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="more arguments for psql, after --")
    return top


def entry() -> None:
    """The installed program."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit code. Nothing but SystemExit for wrong usage ever leaves it."""
    top = parser()
    options = top.parse_args(arguments)
    if options.command is None:
        top.print_help()
        return 0
    options.file = options.file_after or options.file
    return _guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from importlib import import_module

    command: Callable[[argparse.Namespace], int] = import_module(f"pgtandem.cli.commands.{options.command}").run
    return command(options)


def _guarded(work: Callable[[], int]) -> int:
    from pgtandem.errors import PgtandemError

    try:
        return work()
    except PgtandemError as error:
        from pgtandem.cli.show_error import show_error

        show_error(error)
        return error.code.exit_code
    except KeyboardInterrupt:
        print(
            "\ninterrupted: what was done so far stays; run the same command again to go on   [PT-4009]",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception as defect:
        from pgtandem.cli.show_error import show_defect

        show_defect(defect)
        return 19
