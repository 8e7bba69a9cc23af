"""What is said of restore points that were found in WAL, or were not."""

import shlex

import pytest

from pgtandem.errors import PgtandemError
from pgtandem.model.restore import Point, Searched, Target, TargetKind
from pgtandem.plan.found_points import target_with_place
from pgtandem.plan.intervals import intervals

from .test_intervals import SWITCHED, full, lsn


def test_a_name_that_means_something_to_a_shell_is_only_a_word_of_the_next_step() -> None:
    name = 'nightly $(touch gone) `id` "x" it\'s'
    searched = Searched((Point(name, lsn(3)),), lsn(2), lsn(4))
    interval = intervals(full(2), SWITCHED, {})[0]
    with pytest.raises(PgtandemError) as refused:
        target_with_place(Target(TargetKind.NAME, name[:-2]), searched, interval)
    assert shlex.split(refused.value.next_step) == ["pgtandem", "restore", "--to", f"name:{name}"]
