"""Positions in the write-ahead log."""

from dataclasses import dataclass
from typing import NewType

Timeline = NewType("Timeline", int)


@dataclass(frozen=True, slots=True, order=True)
class Lsn:
    """A log sequence number: a byte position in the WAL, 64 bits, written as two hexadecimal halves ("0/3000060")."""

    position: int

    def __post_init__(self) -> None:
        if not 0 <= self.position < 1 << 64:
            raise ValueError(f"an LSN has 64 bits, not {self.position}")

    @classmethod
    def parse(cls, text: str) -> "Lsn":
        """Raises ValueError when the text is not of PostgreSQL's form."""
        high, slash, low = text.partition("/")
        digits = set("0123456789abcdefABCDEF")
        if not slash or not 0 < len(high) <= 8 or not 0 < len(low) <= 8 or not set(high + low) <= digits:
            raise ValueError(f"not an LSN: {text!r}")
        return cls((int(high, 16) << 32) | int(low, 16))

    def __str__(self) -> str:
        return f"{self.position >> 32:X}/{self.position & 0xFFFFFFFF:X}"

    def __sub__(self, other: "Lsn") -> int:
        """The number of bytes between two positions."""
        return self.position - other.position


@dataclass(frozen=True, slots=True)
class TimelineSwitch:
    """One line of a history file: the timeline that was left, and where (manual, 26.3.5)."""

    timeline: Timeline
    at: Lsn
