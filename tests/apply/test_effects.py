"""Every kind of step has an effect, and its name leads to a function of this room."""

import inspect

import pytest

from pgtandem.apply.context import Context
from pgtandem.apply.effects import EFFECTS, effect_of
from pgtandem.model.plan import Step, StepKind


def test_every_kind_of_step_has_an_effect() -> None:
    assert set(EFFECTS) == set(StepKind)


@pytest.mark.parametrize("kind", StepKind, ids=lambda kind: kind.value)
def test_an_effect_takes_the_run_and_the_step_and_returns_a_remark(kind: StepKind) -> None:
    effect = effect_of(kind)
    assert inspect.iscoroutinefunction(effect)
    taken = inspect.signature(effect, eval_str=True)
    assert [each.annotation for each in taken.parameters.values()] == [Context, Step]
    assert taken.return_annotation is str
