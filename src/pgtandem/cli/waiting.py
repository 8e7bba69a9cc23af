"""Waiting until a moment: a countdown on a terminal, one plain line where nobody can redraw."""

import time
from collections.abc import Callable
from typing import TextIO

from pgtandem.cli.moments import moment_in_words, time_left_in_words
from pgtandem.cli.terminal import can_rewrite
from pgtandem.errors import PgtandemError

_MOST_SLEEP_SECONDS = 1.0
#: Who was asleep (a notebook, a virtual machine) at the moment itself must not act hours after it.
_LATE_SECONDS = 60.0


def wait_until(
    moment: float,
    what: str,
    stream: TextIO,
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns at that moment (seconds since 1970), by the machine's clock, which may be set meanwhile.

    Raises PgtandemError: PT-4009 at Ctrl-C, PT-3042 where it wakes up too late.
    """
    redraws = can_rewrite(stream)
    try:
        # Who reads this may press Ctrl-C at once.
        if not redraws:
            left = time_left_in_words(moment - now())
            stream.write(f"{what} at {moment_in_words(moment)}, in {left}; Ctrl-C ends this, and changes nothing\n")
            stream.flush()
        while (left_seconds := moment - now()) > 0:
            if redraws:
                stream.write(f"\r\x1b[K{what} in {time_left_in_words(left_seconds)} (Ctrl-C ends this)")
                stream.flush()
            sleep(min(left_seconds, _MOST_SLEEP_SECONDS))
    except KeyboardInterrupt:
        raise PgtandemError("PT-4009", "nothing was changed", why="It was ended before the time came.") from None
    finally:
        if redraws:
            stream.write("\r\x1b[K")
            stream.flush()
    late = now() - moment
    if late > _LATE_SECONDS:
        raise PgtandemError(
            "PT-3042",
            f"the time is over by {time_left_in_words(late)}",
            why=f"It was to be {moment_in_words(moment)}; this machine slept then, or its clock was set.",
            next_step="run the command again, now or with another --at",
        )
