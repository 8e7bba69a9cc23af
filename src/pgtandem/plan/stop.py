"""Stopping a cluster, and removing it: the primary first, so that every standby still gets its last record."""

from dataclasses import replace

from pgtandem.errors import Problem
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, Plan, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.plan.keeper import forget_unit
from pgtandem.plan.layout import unregister
from pgtandem.plan.order import ordered
from pgtandem.plan.outside import places_to_empty
from pgtandem.plan.packaged import service_of
from pgtandem.plan.refusals import MEND, raise_findings, refuse_closed, refuse_foreign, unseen_archive
from pgtandem.plan.roles import claims_primary
from pgtandem.plan.wal_ways import revoke


def plan_down(topology: Topology, observed: Observed) -> Plan:
    """Stops every server that runs. Raises PgtandemError PT-3003 for data that pgtandem did not make, PT-3015 and
    PT-3008 for what cannot be looked at."""
    refuse_foreign(topology, observed)
    refuse_closed(topology, observed)
    _refuse_unseen(topology, observed)
    return Plan(primary=None, steps=ordered(_stops(topology, observed)))


def plan_destroy(topology: Topology, observed: Observed) -> Plan:
    """Stops every server and removes what pgtandem made: data directories that carry its marker for this cluster,
    this cluster's folder in the archive, half-made copies. Raises PgtandemError as `plan_down` does."""
    refuse_foreign(topology, observed)
    refuse_closed(topology, observed)
    _refuse_unseen(topology, observed)
    raise_findings(list(unseen_archive(topology, observed)), topology)
    _refuse_adopted(topology, observed)
    steps = _stops(topology, observed)
    stops = tuple(step.id for step in steps)
    if isinstance(observed.stream, Known):
        first = _order(topology, observed)[0]
        unit = forget_unit(observed.stream.value, first, "Asked for by --destroy.", stops)
        steps += [unit] if unit else []
    systems = tuple(sorted(set(observed.system_identifiers().values())))
    if isinstance(observed.archive, Known) and topology.archive is not None:
        there = (*observed.archive.value.systems, *observed.archive.value.elsewhere)
        ours = tuple(name for name in systems if name in there)
        if ours:
            steps.append(
                Step(
                    "archive.remove",
                    StepKind.REMOVE_ARCHIVE,
                    _order(topology, observed)[0],
                    f"remove the WAL archive of this cluster in {topology.archive.directory}{_with_backups(observed)}",
                    "Asked for by --destroy.",
                    Risk.REMOVE,
                    needs=(*stops, "stream.unit.remove"),
                    names=ours,
                )
            )
    for number, (url, keys) in enumerate(observed.keys.items(), 1):
        first, why = _order(topology, observed)[0], "Asked for by --destroy."
        step = revoke(f"keys.{number}.remove", first, url, keys.granted, keys.made, why)
        steps.append(replace(step, risk=Risk.REMOVE, needs=stops))
    # The data of standbys goes first: should the run stop half way, what is left is the primary's.
    for name in reversed(_order(topology, observed)):
        node = observed.nodes[name]
        forget = unregister(topology, name, node, stops)
        steps += [forget] if forget else []
        if isinstance(node.data, Known) or node.leftovers or node.replaced or node.merges:
            steps.append(
                Step(
                    f"{name}.remove",
                    StepKind.REMOVE_DATA_DIRECTORY,
                    name,
                    f"remove {topology.node(name).data_directory}",
                    "Asked for by --destroy.",
                    Risk.REMOVE,
                    needs=(
                        *stops,
                        "archive.remove",
                        f"{name}.unregister",
                        *(step.id for step in steps if step.id.endswith(".remove")),
                    ),
                    expects=(Condition("stopped", name),),
                    proves=(Condition("data_absent", name),),
                    names=(*node.leftovers, *node.replaced, *node.merges),
                    places=places_to_empty(topology, observed, name, node),
                )
            )
    return Plan(primary=None, steps=ordered(steps))


def _refuse_adopted(topology: Topology, observed: Observed) -> None:
    """What was there before pgtandem is not pgtandem's to remove, nor is what was copied from it."""
    adopted = [
        name
        for name, node in observed.nodes.items()
        if node.directory and (node.directory.adoptable or (node.directory.marker and node.directory.marker.adopted))
    ]
    raise_findings(
        [
            (
                "PT-3003",
                Problem(
                    name,
                    f"{topology.node(name).data_directory} of {name} was taken over, not made by pgtandem",
                    "It removes only what it made itself.",
                    "pgtandem down   (stops the servers), then remove the data yourself",
                ),
            )
            for name in adopted
        ],
        topology,
    )


def _with_backups(observed: Observed) -> str:
    count = len(observed.backups.value.kept) if isinstance(observed.backups, Known) else 0
    return f", and with it {count} backup{'' if count == 1 else 's'}" if count else ""


def _refuse_unseen(topology: Topology, observed: Observed) -> None:
    findings = []
    for name, node in observed.nodes.items():
        reason = next((f for f in (node.reachable, node.data, node.postmaster) if isinstance(f, Unknown)), None)
        if reason is not None:
            findings.append(
                ("PT-3008", Problem(name, f"could not look at {name}", reason.sentence, reason.next_step or MEND))
            )
    raise_findings(findings, topology)


def _order(topology: Topology, observed: Observed) -> list[NodeName]:
    """The primaries first, then the standbys from the top of the cascade down."""
    primaries = [name for name in topology.names if _is_primary(observed, name)]
    order = list(primaries)
    for top in primaries or topology.names[:1]:
        pending = [top]
        while pending:
            at = pending.pop(0)
            if at not in order:
                order.append(at)
            pending += [name for name in topology.standbys_of(at, top) if name not in order and name not in pending]
    return order + [name for name in topology.names if name not in order]


def _is_primary(observed: Observed, name: NodeName) -> bool:
    node = observed.nodes[name]
    return not node.running.in_recovery if node.running else claims_primary(node)


def _stops(topology: Topology, observed: Observed) -> list[Step]:
    steps: list[Step] = []
    for name in _order(topology, observed):
        node = observed.nodes[name]
        if not isinstance(node.postmaster, Known):
            continue
        programs = node.programs.value.directory if isinstance(node.programs, Known) else ""
        steps.append(
            Step(
                f"{name}.stop",
                StepKind.STOP,
                name,
                f"stop {name}",
                "The primary first, so that every standby gets its last record."
                if _is_primary(observed, name)
                else "Standbys stop after the primary.",
                Risk.STOP,
                needs=tuple(step.id for step in steps[-1:]),
                proves=(Condition("stopped", name),),
                undo="pgtandem up",
                programs=programs,
                service=service_of(node),
            )
        )
    stream = _stream_ends(observed, _order(topology, observed)[0], tuple(step.id for step in steps))
    return [*steps, *stream]


def _stream_ends(observed: Observed, name: NodeName, needs: tuple[str, ...]) -> tuple[Step, ...]:
    """The receiver of the archive's stream ends last: it gets the primary's last record too."""
    if not isinstance(observed.stream, Known) or not observed.stream.value.running:
        return ()
    programs = observed.nodes[name].programs
    return (
        Step(
            "stream.stop",
            StepKind.STOP_STREAM,
            name,
            "end the receiver of the archive's stream",
            "It has what the servers wrote last.",
            Risk.STOP,
            needs=needs,
            undo="pgtandem up",
            programs=programs.value.directory if isinstance(programs, Known) else "",
        ),
    )
