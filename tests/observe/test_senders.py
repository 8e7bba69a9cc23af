"""Who streams from whom, where standbys that are still to be taken over have no names of their own."""

from dataclasses import replace

from cli.values import CASCADE, DB1, DB2, DB3, built, sender
from pgtandem.model.facts import Known
from pgtandem.model.lsn import Timeline
from pgtandem.model.observed import DataDirectory, Observed, ObservedNode
from pgtandem.model.server import Receiver
from pgtandem.observe.health import cluster_health

NAMELESS = sender("walreceiver")


def by_hand(node: ObservedNode) -> ObservedNode:
    return replace(node, data=Known(DataDirectory(("PG_VERSION",), adoptable=True)))


def follows(port: int) -> Receiver:
    return Receiver("streaming", "127.0.0.1", port, None, Timeline(1))


def test_a_standby_that_calls_itself_as_others_do_follows_whom_it_says_it_follows() -> None:
    look = Observed(
        {
            DB1: by_hand(built("db1", 5432, primary=True, sends=(NAMELESS,))),
            DB2: by_hand(built("db2", 5433, sends=(NAMELESS,), receiver=follows(5432))),
            DB3: by_hand(built("db3", 5434, receiver=follows(5433))),
        }
    )
    nodes = cluster_health(CASCADE, look).nodes
    assert [(node.name, node.upstream) for node in nodes] == [(DB1, None), (DB2, DB1), (DB3, DB2)]


def test_of_two_that_follow_the_same_each_has_what_is_sent_to_its_own_address() -> None:
    wish = replace(CASCADE, nodes=tuple(replace(each, upstream=None) for each in CASCADE.nodes))
    wish = replace(wish, nodes=(wish.nodes[0], wish.nodes[1], replace(wish.nodes[2], address="10.0.0.3")))
    late = replace(NAMELESS, client_address="10.0.0.3", state="catchup")
    look = Observed(
        {
            DB1: by_hand(built("db1", 5432, primary=True, sends=(NAMELESS, late))),
            DB2: by_hand(built("db2", 5433, receiver=follows(5432))),
            DB3: by_hand(built("db3", 5434, receiver=follows(5432))),
        }
    )
    states = {node.name: node.state for node in cluster_health(wish, look).nodes}
    assert (states[DB2], states[DB3]) == ("streaming", "catching up")
