"""The command line: reads it, calls the command, turns every failure into words and an exit code."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from pgtandem.cli.terminal import output, own_output


def entry() -> None:
    """The installed program."""
    try:
        _open_streams()
        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # once more, while the first one was being told
        code = 130
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit code. No exception leaves it, whatever happens inside."""
    options = argparse.Namespace(command=None, file=None)
    try:
        code = _run(arguments, options)
        sys.stdout.flush()  # a closed pipe is noticed here, not at the very end
        _tell_lost_output()
        return code
    except KeyboardInterrupt:
        return _tell_interrupted(options)
    except BaseException as failure:
        from pgtandem.cli.failing import tell_failure

        return tell_failure(failure, options)


def _run(arguments: Sequence[str], options: argparse.Namespace) -> int:
    """Fills `options` in as soon as they are known: a failure is told according to them."""
    from pgtandem.cli.arguments import parse_arguments, parsers
    from pgtandem.cli.usage import CHANGING

    try:
        parsed = parse_arguments(arguments)
    except SystemExit as leave:  # argparse, after --help and --version
        return int(leave.code or 0)
    vars(options).update(vars(parsed))
    if options.command is None:
        parsers()[0].print_help()
        return 0
    from importlib import import_module

    below = output()
    if below is not None:
        below.outlive = options.command in CHANGING
    command: Callable[[argparse.Namespace], int] = import_module(f"pgtandem.cli.commands.{options.command}").run
    return command(options)


def _tell_lost_output() -> None:
    """A reader that went away wanted no more; a full disk was meant to keep what is lost now. Raises PgtandemError."""
    below = output()
    if below is not None and below.refused is not None and not isinstance(below.refused, BrokenPipeError):
        from pgtandem.cli.failing import output_error

        raise output_error(below.refused, "Everything was done; what should have been shown is lost.")


def _tell_interrupted(options: argparse.Namespace) -> int:
    from pgtandem.cli.failing import tell_failure
    from pgtandem.cli.usage import CHANGING
    from pgtandem.errors import PgtandemError

    if options.command in CHANGING:
        what, next_step = "what was done so far stays", "run the same command again: it goes on from there"
    else:
        what, next_step = "nothing was changed", ""
    return tell_failure(PgtandemError("PT-4009", what, next_step=next_step), options)


def _open_streams() -> None:
    """A stream that is closed goes nowhere; a name that the terminal cannot show is shown escaped."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    own_output()
