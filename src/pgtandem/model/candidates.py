"""Who could become the primary, and by which rules: commands show it, the later failover agent decides by it."""

from enum import Enum

from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.value import dataclass


class Verdict(Enum):
    GOOD = "ok"
    BAD = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One rule about one standby: what was seen, what must be, and whether that holds. `advice` is what to do.

    Without a threshold it is told and decides nothing; "preferred: ..." decides between those that are equal."""

    rule: str
    value: str
    threshold: str
    verdict: Verdict
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A standby with every rule about it. `received` is how far it has WAL; `rank` sorts candidates, best first. With
    `needs_streamed` it must be shown to have all that was streamed to the archive before it is promoted."""

    name: NodeName
    checks: tuple[Check, ...]
    received: Lsn | None = None
    rank: tuple[int, ...] = ()
    needs_streamed: bool = False

    @property
    def fit(self) -> bool:
        return all(check.verdict is Verdict.GOOD for check in self.checks)

    @property
    def objections(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict is not Verdict.GOOD)
