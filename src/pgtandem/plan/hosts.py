"""What must be on a host before a node can be: an account, reachable programs, no half-made copies."""

from pgtandem.model.facts import Absent, Known
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Risk, Step, StepKind
from pgtandem.plan.draft import Draft


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
    if not isinstance(fact, Known) or fact.value.usable:
        return
    step_id = "host.programs"
    if not draft.has(step_id):
        draft.add(
            Step(
                step_id,
                StepKind.COPY_PROGRAMS,
                name,
                f"copy PostgreSQL {fact.value.version} to {fact.value.copy_to}",
                f"The account that servers run as cannot reach {fact.value.directory}.",
                Risk.CREATE,
                needs=("host.account",),
                undo="remove that folder",
                names=(fact.value.directory, fact.value.copy_to),
            )
        )


def remove_leftovers(draft: Draft, name: NodeName) -> None:
    leftovers = draft.wish.seen(name).leftovers
    if leftovers:
        draft.add(
            Step(
                f"{name}.leftovers",
                StepKind.REMOVE_LEFTOVERS,
                name,
                f"remove what an interrupted run left half made ({len(leftovers)})",
                "They were never in use: a copy gets its final name only when it is whole.",
                Risk.CREATE,
                names=leftovers,
            )
        )
