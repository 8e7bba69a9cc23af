"""New copies that are written into a node's old data: where that may be, and finishing what was cut off."""

from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, Plan, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.plan.desired import Wish
from pgtandem.plan.outside import places_to_fill

#: From this version on what differs can be fetched by SQL, as a role that is no superuser.
_FETCHES_BY_ROLE = 11


def room_for_copy(size_bytes: int, *, whole: bool) -> int:
    """What a copy of databases of this size needs: a tenth more for what is written meanwhile, and some WAL. What is
    written into old data takes room for what differs alone, which nobody knows before: at the least that tenth."""
    return (size_bytes if whole else 0) + size_bytes // 10 + 64 * 1024 * 1024


def renews(wish: Wish, name: NodeName) -> bool:
    """Whether a standby that is copied anew is written into its old data, as far as the plan can tell: only where that
    data has nothing that the primary lacks (`catching_up.py`). On one host the kernel copies all in less time."""
    upstream = wish.upstream(name)
    return (
        upstream == wish.primary
        and wish.topology.postgresql >= _FETCHES_BY_ROLE
        and wish.node(name).host != wish.node(upstream).host
        and not places_to_fill(wish, name)
    )


def finish_merges(topology: Topology, observed: Observed) -> Plan | None:
    """What was cut off while it was put together, and nothing else: everybody's data must be in its place before
    anything is decided. It needs no other node."""
    pending = {name: observed.nodes[name].merges for name in topology.names if observed.nodes[name].merges}
    steps = tuple(
        Step(
            f"{name}.merge",
            StepKind.FINISH_MERGE,
            name,
            f"finish the new copy in {topology.node(name).data_directory}",
            "It was being written into the old data when that was cut off. All that it needs is there.",
            Risk.CREATE,
            expects=(Condition("data_absent", name),),
            proves=(Condition("data_is_ours", name, name),),
            names=folders,
        )
        for name, folders in pending.items()
    )
    return Plan(primary=None, steps=steps, look_again=True) if steps else None
