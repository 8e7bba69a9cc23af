"""The order of steps: every step after those that it needs, otherwise as the rules named them."""

from collections.abc import Sequence
from dataclasses import replace

from pgtandem.model.plan import Step


def ordered(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps in an order in which they can be done.

    A rule names every step that would have to come first if it is in the plan; needs that no step of this plan
    answers are done already and are left out here. Raises ValueError for needs that run in a circle or an id that is
    given twice: a defect of the rules, which the tests look for.
    """
    known = {step.id for step in steps}
    if len(known) != len(steps):
        raise ValueError("two steps of a plan have the same id")

    def others(step: Step, ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(other for other in ids if other in known and other != step.id))

    waiting = [replace(step, needs=others(step, step.needs), after=others(step, step.after)) for step in steps]
    done: list[Step] = []
    ready_ids: set[str] = set()
    while waiting:
        ready = next((step for step in waiting if ready_ids.issuperset(step.waits_for)), None)
        if ready is None:
            raise ValueError("steps need each other in a circle: " + ", ".join(step.id for step in waiting))
        waiting.remove(ready)
        done.append(ready)
        ready_ids.add(ready.id)
    return tuple(done)
