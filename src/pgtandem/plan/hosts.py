"""What must be on a host before a node can be: an account, reachable programs, no half-made copies."""

from pgtandem.model.facts import Absent, Known
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed, ObservedNode, is_rewound
from pgtandem.model.plan import Plan, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.model.words import size_in_words
from pgtandem.plan.desired import Wish
from pgtandem.plan.draft import Draft
from pgtandem.plan.order import ordered
from pgtandem.plan.outside import places_to_empty, places_to_fill

#: Reading both sides of a copy pays from this size on.
LEAST_BYTES = 64 * 1024 * 1024

_UNTIL_RESTARTED = " What runs goes on with the older copy until it is restarted."


def missing_programs(topology: Topology, observed: Observed) -> Plan | None:
    """The programs alone, where there is data that nothing can look into without them: then all is looked at again."""
    if not any(
        node.directory and isinstance(node.programs, Known) and not node.programs.value.usable
        for node in observed.nodes.values()
    ):
        return None
    draft = Draft(Wish(topology, observed, topology.nodes[0].name))
    for name in topology.names:
        reachable_programs(draft, name)
    return Plan(primary=None, steps=ordered(draft.steps), look_again=True)


def create_account(draft: Draft) -> None:
    for name in draft.wish.topology.names:
        if isinstance(draft.wish.seen(name).account, Absent) and not draft.has("host.account"):
            draft.add(
                Step(
                    "host.account",
                    StepKind.CREATE_ACCOUNT,
                    name,
                    'create the system account "pgtandem"',
                    "PostgreSQL refuses to run as root, and there is no account for it yet.",
                    Risk.CREATE,
                    undo="userdel pgtandem",
                )
            )


def reachable_programs(draft: Draft, name: NodeName) -> None:
    fact = draft.wish.seen(name).programs
    wanted = fact.value.to_copy if isinstance(fact, Known) else None
    if wanted is None:
        return
    step_id = "host.programs"
    if not draft.has(step_id):
        draft.add(
            Step(
                step_id,
                StepKind.COPY_PROGRAMS,
                name,
                f"copy PostgreSQL {wanted.version} to {wanted.copy_to}",
                f"The account that servers run as cannot reach {wanted.directory}."
                + ("" if isinstance(fact, Known) and fact.value.usable is False else _UNTIL_RESTARTED),
                Risk.CREATE,
                needs=("host.account",),
                undo="remove that folder",
                names=(wanted.directory, wanted.copy_to),
            )
        )


def remove_leftovers(draft: Draft, name: NodeName) -> None:
    """Before anything is made anew, or after a copy that takes what it can from them."""
    leftovers, again = draft.wish.seen(name).leftovers, goes_on(draft, name)
    if not leftovers or (again and not draft.foreseen_copy(name)):
        return
    why = "They were never in use: a copy gets its final name only when it is whole."
    draft.add(
        Step(
            f"{name}.leftovers",
            StepKind.REMOVE_LEFTOVERS,
            name,
            f"remove what an interrupted run left half made ({len(leftovers)})",
            f"{why} The new copy takes from them what is the same." if again else why,
            Risk.CREATE,
            needs=(f"{name}.data",) if again else (),
            names=leftovers,
            places=places_to_empty(draft.wish.topology, draft.wish.observed, name, draft.wish.seen(name)),
        )
    )


def goes_on(draft: Draft, name: NodeName) -> bool:
    """Whether a copy that was interrupted is of use for the next one: less has to be sent, or written, then."""
    return draft.builds(name) and uses_halves(draft.wish, name)


def uses_halves(wish: Wish, name: NodeName) -> bool:
    """Whether a copy of this node goes on with half-made ones. What lies outside of the data directory is emptied
    first, so there nothing is used again. On one host a small one is copied sooner than compared, and former data that
    was being rewound goes first, so that it needs no room beside the copy."""
    node, upstream = wish.seen(name), wish.upstream(name)
    return (
        upstream is not None
        and bool(node.leftovers)
        and not node.claimed
        and not places_to_fill(wish, name)
        and (wish.node(name).host != wish.node(upstream).host or _pays_on_one_host(node))
    )


def _pays_on_one_host(node: ObservedNode) -> bool:
    return node.leftover_bytes >= LEAST_BYTES and not any(map(is_rewound, node.leftovers))


#: What a step that copies says for it. How much that is stands in a note: it may be another number at the second look.
GOES_ON = " It goes on with what an interrupted run left half made."


def half_notes(wish: Wish, name: NodeName) -> list[str]:
    """How much half-made copies have of a copy that goes on with them."""
    held, primary = wish.seen(name).leftover_bytes, wish.seen(wish.primary).running
    if not held or primary is None:
        return []
    amount = size_in_words(held) + (f" of {size_in_words(primary.size_bytes)}" if held < primary.size_bytes else "")
    return [f"The copy of {name} goes on with a half-made copy, {amount}; all of it is compared first."]
