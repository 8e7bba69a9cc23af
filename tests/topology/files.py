"""Topology files for the tests, and what reading one of them says."""

import pytest

from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.topology import Topology
from pgtandem.topology.load import load_topology

FOLDER = "/srv/shop"
CLUSTER = '[cluster]\nname = "shop"\npostgresql = 18\n'
TWO_NODES = "[nodes.db1]\nport = 5432\n\n[nodes.db2]\nport = 5433\n"
PAIR = CLUSTER + TWO_NODES


def load(text: str) -> Topology:
    return load_topology(text, folder=FOLDER)


def error_of(text: str) -> PgtandemError:
    with pytest.raises(PgtandemError) as caught:
        load(text)
    return caught.value


def problems_of(text: str) -> tuple[Problem, ...]:
    error = error_of(text)
    assert error.code.text == "PT-1004", error
    return error.problems


def places_of(text: str) -> list[str]:
    return [problem.where for problem in problems_of(text)]


def only_problem(text: str) -> Problem:
    """The problem of a file that has exactly one."""
    problems = problems_of(text)
    assert len(problems) == 1, problems
    return problems[0]
