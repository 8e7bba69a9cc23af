"""Pairs: one run of ours, one of the other, again and again; what is compared is each pair's ratio.

Both halves of a pair see the same load of the machine, so their ratio holds where absolute times do not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

#: Does a thing once, and returns how long it took, in seconds.
Run = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Spread:
    """The least, the median and the greatest of some figures."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, figures: tuple[float, ...]) -> "Spread":
        """Raises ValueError where there are no figures."""
        if not figures:
            raise ValueError("no figures")
        return cls(min(figures), median(figures), max(figures))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The seconds of both sides of a benchmark, pair by pair; `target` is the ratio that was promised at most."""

    name: str
    ours: tuple[float, ...]
    other: tuple[float, ...]
    target: float | None = None

    def __post_init__(self) -> None:
        if len(self.ours) != len(self.other) or not self.ours:
            raise ValueError(f"{self.name}: {len(self.ours)} and {len(self.other)} runs are no pairs")

    @property
    def ratios(self) -> Spread:
        """Ours over the other, of each pair."""
        return Spread.of(tuple(ours / other for ours, other in zip(self.ours, self.other, strict=True)))

    @property
    def missed(self) -> bool:
        return self.target is not None and self.ratios.median > self.target


def run_pairs(
    name: str, ours: Run, other: Run, *, pairs: int, warm_up: int = 1, target: float | None = None
) -> Outcome:
    """Runs ours, the other, ours, the other ...; the first `warm_up` pairs do not count."""
    seconds = [(ours(), other()) for _ in range(warm_up + pairs)][warm_up:]
    return Outcome(name, tuple(pair[0] for pair in seconds), tuple(pair[1] for pair in seconds), target)
