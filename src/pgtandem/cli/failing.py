"""What main does when a command fails: words to people, JSON to programs that asked for it, an exit code."""

import argparse
import contextlib
import sys

from pgtandem.cli.show_error import defect_error, error_lines
from pgtandem.cli.terminal import Paint, output_refused, text_width
from pgtandem.errors import PgtandemError

#: As shells count a program that a signal ended: 128 and the number of SIGINT, of SIGPIPE.
_INTERRUPTED = 130
_PIPE_CLOSED = 141


def tell_failure(failure: BaseException, options: argparse.Namespace) -> int:
    """Tells it to stderr, with --json to stdout as well; returns the exit code. Raises nothing."""
    if not isinstance(failure, PgtandemError):
        refused = output_refused() if isinstance(failure, OSError) else None
        if isinstance(refused, BrokenPipeError):
            return _PIPE_CLOSED
        failure = defect_error(failure) if refused is None else output_error(refused)
    # Where there is nobody left to tell it to, the exit code says it.
    with contextlib.suppress(OSError, ValueError, KeyboardInterrupt):
        _tell(failure, options)
    return _INTERRUPTED if failure.code.text == "PT-4009" else failure.code.exit_code


def output_error(refused: OSError, more: str = "") -> PgtandemError:
    return PgtandemError("PT-1009", "could not write the output", why=f"{refused.strerror}. {more}".strip())


def _tell(error: PgtandemError, options: argparse.Namespace) -> None:
    if getattr(options, "json", False):
        import json

        from pgtandem.cli.json_views import error_json

        print(json.dumps(error_json(error), indent=2))
    sys.stdout.flush()
    lines = error_lines(error, _file_of(options), Paint(sys.stderr), text_width(sys.stderr))
    print("\n".join(lines), file=sys.stderr, flush=True)


def _file_of(options: argparse.Namespace) -> str | None:
    """The topology file of this call, None while that is not known."""
    from pgtandem.cli.workbench import topology_path

    try:
        return topology_path(options) if options.command else None
    except (PgtandemError, OSError):
        return None
