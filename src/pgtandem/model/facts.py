"""A fact about the world: known, absent, or unknown with the reason.

A rule must say what it does for each of the three; "unknown" is never read as "no".
"""

from typing import Generic, TypeVar

from pgtandem.model.value import dataclass

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """It is there, and this is its value."""

    value: T


@dataclass(frozen=True, slots=True)
class Absent:
    """It is certainly not there."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It could not be found out; `reason` is a sentence for people. `next_step` says what would help, where known."""

    reason: str
    next_step: str = ""

    @property
    def sentence(self) -> str:
        """The reason as it stands alone: with a capital letter, unless it begins with a program's name or a path, and
        with a full stop."""
        text, first = self.reason.rstrip(), self.reason.partition(" ")[0]
        if first.isalpha():
            text = text[:1].upper() + text[1:]
        return text if text.endswith((".", "!", "?")) else f"{text}."


Fact = Known[T] | Absent | Unknown
ABSENT = Absent()


def value_or_none(fact: Fact[T]) -> T | None:
    """The value of a known fact, None of any other: only where absent and unknown lead to the same decision."""
    return fact.value if isinstance(fact, Known) else None
