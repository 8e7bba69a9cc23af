"""The versions of programs: asked of each once, and again when it is another file."""

import pytest

from pgtandem.model.facts import Known
from pgtandem.observe.programs import Versions, observe_programs
from pgtandem.testing.files import SimFile
from pgtandem.testing.probe import Call, Moment
from pgtandem.testing.world import SimWorld
from pgtandem.topology.load import load_topology

TOPOLOGY = load_topology('[cluster]\nname = "shop"\npostgresql = 17\n[nodes.db1]\nport = 5001\n', folder="/srv/shop")
PLACE = "/usr/lib/postgresql/17/bin"


@pytest.fixture
def world() -> SimWorld:
    return SimWorld(majors=(17,))


def look(world: SimWorld) -> tuple[str, int]:
    """The version that is found by who remembers what was remembered, and how many programs were run for it."""
    runs: list[Call] = []

    def seen(call: Call) -> None:
        if call.method == "run" and call.moment is Moment.BEFORE:
            runs.append(call)

    world.probe.hook = seen
    versions = Versions(world.workspace.versions())
    found = world.run(observe_programs(world.host, TOPOLOGY, versions))
    if versions.news:
        world.workspace.remember_versions(versions.news)
    assert isinstance(found, Known)
    return found.value.version, len(runs)


def test_a_program_is_asked_for_its_version_once(world: SimWorld) -> None:
    version, _ = look(world)
    assert look(world) == (version, 0)


def test_a_program_that_was_replaced_is_asked_again(world: SimWorld) -> None:
    version, asked = look(world)
    program = world.machine.files.find(f"{PLACE}/postgres")
    assert isinstance(program, SimFile)
    program.content = b"another build"
    assert look(world) == (version, asked)
    assert look(world) == (version, 0)


def test_what_was_remembered_of_elsewhere_is_not_believed(world: SimWorld) -> None:
    world.workspace.remember_versions({f"this machine: {PLACE}/postgres: 1 2 3": "17.0"})
    version, asked = look(world)
    assert version != "17.0"
    assert asked == 1
