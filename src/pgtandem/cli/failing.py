"""What main does when a command fails: words to people, JSON to programs that asked for it, an exit code."""

import argparse
import contextlib
import sys

from pgtandem.cli.show_error import defect_error, error_lines
from pgtandem.cli.terminal import Paint, forget_output, text_width
from pgtandem.errors import PgtandemError

_INTERRUPTED = 130


def tell_failure(failure: BaseException, options: argparse.Namespace) -> int:
    """Tells it to stderr, with --json to stdout as well; returns the exit code. Raises nothing."""
    error = _in_words(failure)
    # Where there is nobody left to tell it to, the exit code says it.
    with contextlib.suppress(OSError, ValueError, KeyboardInterrupt):
        _tell(error, options)
    return _INTERRUPTED if error.code.text == "PT-4009" else error.code.exit_code


def _in_words(failure: BaseException) -> PgtandemError:
    if isinstance(failure, PgtandemError):
        return failure
    try:
        sys.stdout.flush()
    except OSError as full:  # what Python still holds for it cannot be written now either
        forget_output()
        return PgtandemError("PT-1009", "could not write the output", why=f"{full.strerror}.")
    return defect_error(failure)


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
