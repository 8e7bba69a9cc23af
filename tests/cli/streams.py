"""Streams that the views write to."""

import io


class Terminal(io.StringIO):
    """A terminal that keeps what was written. It has no width of its own: 80 columns are assumed."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    """A file or a pipe."""

    encoding = "utf-8"
