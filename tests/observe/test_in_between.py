"""What happens on a host while it is looked at."""

import pytest

from pgtandem.apply.engine import carry_out
from pgtandem.apply.report import Silent
from pgtandem.model.facts import ABSENT, Known
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Plan, Risk
from pgtandem.observe.cluster import Observer
from pgtandem.plan.converge import plan_converge
from pgtandem.testing.servers import SimServer
from pgtandem.testing.world import SimWorld
from pgtandem.topology.load import load_topology

PAIR = '[cluster]\nname = "shop"\npostgresql = 17\n[nodes.db1]\nport = 5432\n[nodes.db2]\nport = 5433\n'


async def say_yes(plan: Plan, approved: Risk | None) -> bool:
    return True


def test_a_server_that_begins_to_run_in_the_middle_of_a_look_is_nobody_else_at_its_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pg_ctl of a run that was killed starts it just then: postmaster.pid was not there yet, and its port is."""
    world, topology = SimWorld(), load_topology(PAIR, folder="/srv/shop")
    world.run(carry_out(topology, world.ports(), plan_converge, say_yes, Silent(), "up"))
    path = topology.node(NodeName("db2")).data_directory
    server = world.server(path)
    assert server is not None
    server.kill()
    ports = world.ports()
    host = ports.hosts["local"]
    look = host.port_holder

    async def begins_to_run(address: str, port: int) -> str | None:
        SimServer(world.network, world.machine_of(path), path, 17, f"{path}.log").launch()
        return await look(address, port)

    monkeypatch.setattr(host, "port_holder", begins_to_run)
    seen = world.run(Observer(topology, ports).node(NodeName("db2")))
    assert seen.port_holder == ABSENT
    assert isinstance(seen.postmaster, Known)
