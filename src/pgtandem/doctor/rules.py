"""What a rule is, and what it finds."""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from pgtandem.doctor.look import Look
from pgtandem.model.names import NodeName
from pgtandem.model.value import dataclass


class Severity(Enum):
    """How grave a finding is. A note is worth knowing and nothing is wrong: it does not count for the exit code."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Seen:
    """One case of a rule's trap: what was seen, on which node (None for the cluster), in which file and line where
    that is known. `fix` takes the place of the rule's own one where it can be said more exactly, `severity` where this
    case is less grave than the rule."""

    node: NodeName | None
    what: str
    where: str = ""
    fix: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One trap of the catalogue. `why` says in two sentences why it matters, `fix` is a command or a line of TOML.
    `by_sql` says whether SQL alone shows it: the others look at a host, or compare with the topology file."""

    id: str
    severity: Severity
    title: str
    why: str
    fix: str
    look: Callable[[Look], Iterable[Seen]]
    by_sql: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """A trap that is there."""

    rule: Rule
    seen: Seen

    @property
    def severity(self) -> Severity:
        return self.seen.severity or self.rule.severity

    @property
    def fix(self) -> str:
        return self.seen.fix or self.rule.fix


def rule(
    id: str, severity: Severity, title: str, *, why: str, fix: str, by_sql: bool = True
) -> Callable[[Callable[[Look], Iterator[Seen]]], Rule]:
    """Makes a rule of the function that looks for it."""

    def make(look: Callable[[Look], Iterator[Seen]]) -> Rule:
        return Rule(id, severity, title, why, fix, look, by_sql)

    return make
