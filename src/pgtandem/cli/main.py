"""The command line: reads it, calls the command, turns every failure into words and an exit code."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

_CHANGING = ("up", "apply", "down")

#: As shells count a program that a signal ended: 128 and the number of SIGINT, of SIGPIPE.
_INTERRUPTED = 130
_PIPE_CLOSED = 141


def entry() -> None:
    """The installed program."""
    _open_streams()
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit code. No exception leaves it, whatever happens inside."""
    options = argparse.Namespace(command=None, file=None)
    try:
        return _flushed(_run(arguments, options))
    except KeyboardInterrupt:
        return _tell_interrupted(options)
    except BrokenPipeError:
        _forget_output()
        return _PIPE_CLOSED
    except SystemExit as leave:  # argparse, after --help and --version
        return _flushed(leave.code if isinstance(leave.code, int) else 0)
    except BaseException as failure:
        from pgtandem.cli.failing import tell_failure

        return tell_failure(failure, options)


def _run(arguments: Sequence[str], options: argparse.Namespace) -> int:
    """Fills `options` in as soon as they are known: a failure is told according to them."""
    from pgtandem.cli.arguments import parse_arguments, parsers

    parsed = parse_arguments(arguments)
    vars(options).update(vars(parsed))
    if options.command is None:
        parsers()[0].print_help()
        return 0
    from importlib import import_module

    command: Callable[[argparse.Namespace], int] = import_module(f"pgtandem.cli.commands.{options.command}").run
    return command(options)


def _tell_interrupted(options: argparse.Namespace) -> int:
    from pgtandem.cli.failing import tell_failure
    from pgtandem.errors import PgtandemError

    if options.command in _CHANGING:
        what, next_step = "what was done so far stays", "run the same command again: it goes on from there"
    else:
        what, next_step = "nothing was changed", ""
    return tell_failure(PgtandemError("PT-4009", what, next_step=next_step), options)


def _flushed(code: int) -> int:
    """Writes out what is left, so that a closed pipe is noticed here and not at the very end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return _PIPE_CLOSED
    return code


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


def _forget_output() -> None:
    """What Python still holds for a closed pipe goes nowhere, without a word at the end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
