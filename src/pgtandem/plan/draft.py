"""A plan while it grows."""

from dataclasses import dataclass, field, replace
from functools import cached_property

from pgtandem.model.facts import Absent, Known
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Step, StepKind
from pgtandem.plan.catching_up import Gap, gaps
from pgtandem.plan.desired import (
    Wish,
)

_BEFORE_PROGRAMS = (StepKind.CREATE_ACCOUNT, StepKind.COPY_PROGRAMS, StepKind.REMOVE_LEFTOVERS)


@dataclass
class Draft:
    """Steps in the order in which the rules name them, notes, and whether some facts are only seen afterwards.
    `waiting` is what could not be planned because of nodes that are left out, in words.

    A rule names every step that would have to come first; `ordered` sorts that out at the end.
    """

    wish: Wish
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    look_again: bool = False
    waiting: str = ""

    @cached_property
    def gaps(self) -> dict[NodeName, Gap]:
        """The standbys that can never catch up: a new copy takes the place of their data."""
        return gaps(self.wish)

    def has(self, step_id: str) -> bool:
        return any(step.id == step_id for step in self.steps)

    def add(self, step: Step) -> None:
        programs = self.programs(step.node) if not step.programs else step.programs
        # Almost every step runs one of the programs, if only to read the control file.
        first = () if step.kind in _BEFORE_PROGRAMS else ("host.programs",)
        self.steps.append(replace(step, programs=programs, needs=(*first, *step.needs)))

    def programs(self, name: NodeName) -> str:
        if name not in self.wish.observed.nodes:
            return ""
        fact = self.wish.seen(name).programs
        if not isinstance(fact, Known):
            return ""
        return fact.value.to_copy.copy_to if fact.value.to_copy else fact.value.directory

    def builds(self, name: NodeName) -> bool:
        """Whether its data directory is made by this plan: there is none, or a new copy takes its place."""
        return isinstance(self.wish.seen(name).data, Absent) or name in self.gaps

    def foreseen(self, name: NodeName) -> bool:
        """Whether it is known what the server holds, or will hold when this plan is done."""
        if self.builds(name):
            upstream = self.wish.upstream(name)
            return upstream is None or self.foreseen(upstream)
        return self.wish.seen(name).running is not None

    def foreseen_copy(self, name: NodeName) -> bool:
        """Whether it is known if the role and the slot are there that a standby is copied with: only then it is."""
        upstream = self.wish.upstream(name)
        return upstream is not None and self.foreseen(self.wish.primary) and self.foreseen(upstream)


def cascade_order(wish: Wish) -> tuple[NodeName, ...]:
    """The primary, then every standby after its upstream, in the file's order otherwise."""
    order = [wish.primary]
    while len(order) < len(wish.topology.nodes):
        order += [name for name in wish.topology.names if name not in order and wish.upstream(name) in order]
    return tuple(order)
