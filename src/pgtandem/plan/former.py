"""Nodes that pgtandem built and the topology file no longer has."""

from pgtandem.model.facts import Known
from pgtandem.model.observed import FormerNode
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.plan.draft import Draft
from pgtandem.plan.layout import forget_registration
from pgtandem.plan.packaged import service_of


def _moved_away(draft: Draft) -> tuple[str, ...]:
    """The proofs of the standbys that streamed through a node that leaves: until they stream from elsewhere, it is
    what they could go back to. Where the primary restarts, that waits for the stop itself, and the proofs for it."""
    wish = draft.wish
    if draft.has(f"{wish.primary}.restart"):
        return ()
    return tuple(f"{name}.proof" for name in wish.topology.names)


def former_nodes(draft: Draft, revoked: tuple[str, ...] = ()) -> None:
    """They are stopped, and their data is left where it is.

    Only after the primary no longer waits for their confirmation: otherwise commits would wait for a stopped server.
    """
    primary = draft.wish.primary
    for former in draft.wish.observed.former:
        if isinstance(former.observed.postmaster, Known):
            draft.add(
                Step(
                    f"{former.name}.stop",
                    StepKind.STOP,
                    former.name,
                    f"stop {former.name}",
                    "The topology file no longer has it.",
                    Risk.STOP,
                    needs=(f"{primary}.files", f"{primary}.sync", *_moved_away(draft)),
                    proves=(Condition("stopped", former.name),),
                    undo=f"put [nodes.{former.name}] back and apply",
                    programs=draft.programs(primary),
                    service=service_of(former.observed),
                )
            )
        forget_registration(draft, former)
        left = isinstance(former.observed.data, Known)
        draft.add(
            Step(
                f"{former.name}.forget",
                StepKind.FORGET_NODE,
                former.name,
                f"forget {former.name}",
                f"Its data stays in {former.data_directory}." if left else "Its data directory is gone.",
                Risk.CREATE,
                needs=(f"{former.name}.stop", f"{former.name}.unregister", *revoked),
            )
        )
        _archive_left(draft, former)


def _archive_left(draft: Draft, former: FormerNode) -> None:
    """Where each node archives on its own disk, a host that goes takes its backups out of sight."""
    topology = draft.wish.topology
    if topology.archive is None or topology.archive.host or former.host in topology.archive_hosts:
        return
    draft.notes.append(
        f"What {former.name} has of the WAL archive stays in {topology.archive.directory} on {former.host.url}, and no "
        "command looks there any more. Where the last backup is there, take another one afterwards: pgtandem backup."
    )
