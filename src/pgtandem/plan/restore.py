"""A restore into a folder of its own: a copy beside the cluster, which cannot disturb it.

The backup is unpacked under another name and renamed when it is whole; the server recovers by itself from then on. Cut
off anywhere, the same command goes on: what the folder holds says which restore it is.
"""

from pgtandem.errors import PgtandemError
from pgtandem.model.backup import spoilt_in
from pgtandem.model.facts import Absent, Known, Unknown
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.plan import WARNING, Condition, Plan, Risk, Step, StepKind
from pgtandem.model.restore import RESTORED, RestoreOrder, TargetKind
from pgtandem.model.topology import Node, Topology
from pgtandem.model.words import size_in_words
from pgtandem.plan.order import ordered
from pgtandem.plan.recovery import RESTORE_FILE, TARGET_SETTINGS, has_its_places, same_restore, same_target
from pgtandem.postgres.conf import RECOVERY_DONE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.versions import ends_short_of_its_target

#: What a restore needs beside the size of what was backed up, at most.
_ROOM = 1.1
#: WAL of the backup, and what recovery has in hand at a time.
_SEGMENTS = 4


def restore_topology(topology: Topology, order: RestoreOrder) -> Topology:
    """The restored server as a cluster of one: everything that looks at nodes, starts and stops them works on it."""
    node = Node(RESTORED, order.port, order.directory, order.host, order.address)
    # The backups are looked at where a drill is to be noted beside one of them.
    return Topology(
        cluster=topology.cluster,
        postgresql=topology.postgresql,
        nodes=(node,),
        archive=topology.archive if order.drill is not None else None,
        binaries=topology.binaries,
        bin_directory=topology.bin_directory,
    )


def plan_restore(topology: Topology, observed: Observed, order: RestoreOrder) -> Plan:
    """The plan that makes this restored server; empty when it stands where it was asked to. `topology` is what
    `restore_topology` makes.

    Raises PgtandemError PT-3055 for a folder that holds something else, PT-3015 for one that cannot be made, PT-3009
    for a disk that is too small, PT-3008 and PT-3005 for what cannot be looked at or is not installed.
    """
    node = observed.nodes[RESTORED]
    refuse_unseen(node, order)
    steps: list[Step] = []
    if node.leftovers:
        steps.append(clear_leftovers(node))
    if isinstance(node.data, Absent):
        refuse_in_the_way(node, order)
        refuse_full(node, order)
        steps.append(unpack(node, order))
    elif not holds(node, order) or (not order.promote and _ends_before(node, order)):
        raise other_data(order, node)
    refuse_other_port(node, order)
    server = node.running
    paused = server is not None and server.in_recovery and server.replay_paused
    if server is None or (server.in_recovery and not paused) or _may_have_ended_short(topology, node, order):
        steps.append(recover(node, order))
    elif paused and order.promote:
        steps.append(
            Step(
                "restored.promote",
                StepKind.END_RECOVERY,
                RESTORED,
                "end the recovery: it takes writes from now on",
                "Asked for by --promote.",
                Risk.CREATE,
                programs=_programs(node),
            )
        )
    if _targets_stay(node, order, steps=steps):
        steps.append(
            Step(
                "restored.settle",
                StepKind.SETTLE_RESTORED,
                RESTORED,
                "take the settings of recovery away, and start it without them",
                "A recovery target that stays is met again at some later recovery.",
                Risk.CREATE,
                needs=("restored.recover", "restored.promote"),
                proves=(Condition("is_primary", RESTORED),),
                programs=_programs(node),
                restore=order,
            )
        )
    return Plan(primary=None, steps=ordered(steps), notes=(*forewarned(order), *_notes(order)) if steps else ())


def _ends_before(node: ObservedNode, order: RestoreOrder) -> bool:
    """Whether what was brought to the end of the archive is behind the end that it has now, by whole segments."""
    at, size = None, order.backup.segment_bytes
    if node.running is not None:
        at = None if node.running.in_recovery else node.running.current_lsn
    elif node.control is not None and node.control.state == "shut down":
        at = node.control.checkpoint_lsn
    behind = at is not None and at.position // size < (order.expected_end.position - 1) // size
    return order.target.kind is TargetKind.LATEST and behind


def other_data(order: RestoreOrder, node: ObservedNode | None = None) -> PgtandemError:
    what = "drill" if order.drill is not None else f"restore to {order.target}"
    note = node.directory.files.get(RESTORE_FILE) if node and node.directory else None
    if note and same_target(note, order) and order.places and not has_its_places(note, order):
        was = f"to take the place of {order.like}" if order.replaces else "to stand beside the cluster"
        return PgtandemError(
            "PT-3055",
            f"{order.place} holds a {what} that was not made {was}",
            why="So its tablespaces, or its WAL, are in other folders than they have to be for that. What stands there "
            "is not touched.",
            next_step=f"name another folder: --into DIR; or pg_ctl stop -D {order.directory} there, and remove it with "
            "its tablespaces",
        )
    if note and same_target(note, order):
        return PgtandemError(
            "PT-3055",
            f"{order.place} holds an earlier {what}",
            why="Since then there is more in the archive, or another backup or timeline was asked for. What stands "
            "there is not touched.",
            next_step=f"name another folder: --into DIR; or pg_ctl stop -D {order.directory} there, and remove it",
        )
    return PgtandemError(
        "PT-3055",
        f"{order.place} is not empty, and holds no {what}",
        why="What stands there is not touched.",
        next_step="name another folder: --into DIR",
    )


def refuse_other_port(node: ObservedNode, order: RestoreOrder) -> None:
    """A restored server that is down is started on another port than before where that was asked for."""
    if isinstance(node.postmaster, Known) and node.postmaster.value.port != order.port:
        raise PgtandemError(
            "PT-3055",
            f"the restored server in {order.place} listens on port {node.postmaster.value.port} already",
            why="Another port takes a restart, which would end a recovery that is paused.",
            next_step=f"leave --port out; or pg_ctl stop -D {order.directory} there, and run the same command again",
        )


def holds(node: ObservedNode, order: RestoreOrder) -> bool:
    """Whether the folder holds this very restore."""
    return node.directory is not None and same_restore(node.directory.files.get(RESTORE_FILE), order)


def clear_leftovers(node: ObservedNode) -> Step:
    return Step(
        "restored.leftovers",
        StepKind.REMOVE_LEFTOVERS,
        RESTORED,
        "remove a half-made restore",
        "An interrupted run left it.",
        Risk.CREATE,
        names=node.leftovers,
    )


def unpack(node: ObservedNode, order: RestoreOrder) -> Step:
    labels = " and ".join(backup.label for backup in order.chain)
    return Step(
        "restored.data",
        StepKind.RESTORE_DATA,
        RESTORED,
        f"unpack backup {labels} to {order.place}",
        "A folder of its own: the cluster and its data are not touched.",
        Risk.CREATE,
        needs=("restored.leftovers", "restored.clear"),
        expects=(Condition("data_absent", RESTORED),),
        proves=(Condition("data_is_ours", RESTORED, RESTORED),),
        undo=f"remove {order.directory}",
        programs=_programs(node),
        files=order.files,
        restore=order,
    )


def recover(node: ObservedNode, order: RestoreOrder) -> Step:
    return Step(
        "restored.recover",
        StepKind.RECOVER,
        RESTORED,
        f"recover to {order.target} on timeline {order.timeline}",
        f"It listens on port {order.port}, archives nothing and streams from nobody.",
        Risk.CREATE,
        needs=("restored.data",),
        proves=(Condition("answers", RESTORED),),
        programs=_programs(node),
        restore=order,
    )


def _programs(node: ObservedNode) -> str:
    return node.programs.value.directory if isinstance(node.programs, Known) else ""


def _targets_stay(node: ObservedNode, order: RestoreOrder, *, steps: list[Step]) -> bool:
    """Whether recovery ends, so that its settings have no use any more, and they are there."""
    ends = order.promote or order.target.kind is TargetKind.LATEST
    if not ends and (node.running is None or node.running.in_recovery):
        return False
    if any(step.kind in (StepKind.RESTORE_DATA, StepKind.RECOVER, StepKind.END_RECOVERY) for step in steps):
        return ends
    return _unsettled(node) or (refuses_writes(node) and order.promote)


def _may_have_ended_short(topology: Topology, node: ObservedNode, order: RestoreOrder) -> bool:
    """Whether nobody has seen yet that its recovery ended at the target, and not where the archive did."""
    ended = node.running is not None and not node.running.in_recovery and _unsettled(node)
    return ended and order.target.kind is not TargetKind.LATEST and ends_short_of_its_target(topology.postgresql)


def _unsettled(node: ObservedNode) -> bool:
    done = node.directory is not None and node.directory.files.get(RECOVERY_DONE) is not None
    return done or any(name in _settings(node) for name in (*TARGET_SETTINGS, "restore_command"))


def refuses_writes(node: ObservedNode) -> bool:
    """Whether its settings say so."""
    return _settings(node).get("default_transaction_read_only") == "on"


def _settings(node: ObservedNode) -> dict[str, str]:
    text = node.directory.files.get(SETTINGS_FILE) if node.directory else None
    return parse_settings(text or "")


def forewarned(order: RestoreOrder) -> tuple[str, ...]:
    """Said before it begins: afterwards nothing in the restored data shows that there was more, or what was damaged."""
    notes = []
    bad = spoilt_in(order.chain)
    if bad is not None and bad.verified is not None:
        notes.append(
            f"{WARNING}backup {bad.label} is BAD, so that what comes back may be damaged: {bad.verified.trouble}"
        )
    if order.breaks_off is not None:
        notes.append(
            f"The archive has WAL behind {order.breaks_off}, which is missing: recovery ends there, at "
            f"{order.expected_end}, and what was written later does not come back."
        )
    return tuple(notes)


def _notes(order: RestoreOrder) -> tuple[str, ...]:
    if order.contested is None:
        return _ends(order)
    segment, name = order.contested
    return (
        f"{name} cannot archive {segment}, and the archive has one: if that is another server's ({name}'s log says "
        f"so), what comes back from there on is not what {name} wrote.",
        *_ends(order),
    )


def _ends(order: RestoreOrder) -> tuple[str, ...]:
    if order.promote:
        return ("It takes writes afterwards, on a timeline of its own that nobody else knows.",)
    if order.target.kind is TargetKind.LATEST:
        return ("It refuses writes afterwards (default_transaction_read_only), so that it can be looked at as it was.",)
    return ("It stops there, readable and paused, so that it can be looked at before anything is decided.",)


def refuse_unseen(node: ObservedNode, order: RestoreOrder) -> None:
    for fact in (node.reachable, node.data, node.postmaster):
        if isinstance(fact, Unknown):
            raise PgtandemError(
                "PT-3008", f"could not look at {order.directory}", why=fact.sentence, next_step="mend that, then again"
            )
    if not isinstance(node.programs, Known):
        why = node.programs.sentence if isinstance(node.programs, Unknown) else ""
        raise PgtandemError(
            "PT-3005", "the PostgreSQL programs to restore with are not there", why=why, next_step="pgtandem plan"
        )
    if isinstance(node.port_holder, Known) and node.running is None:
        raise PgtandemError(
            "PT-3007",
            f"port {order.port} is taken by {node.port_holder.value}",
            why="The restored server needs a port of its own.",
            next_step="name another one: --port PORT",
        )


def refuse_in_the_way(node: ObservedNode, order: RestoreOrder) -> None:
    if isinstance(node.obstacle, Known):
        obstacle, elsewhere = node.obstacle.value, "name another folder: --into DIR"
        raise PgtandemError(
            "PT-3015",
            f"{order.place} cannot be made",
            why=obstacle.why,
            next_step=f"{obstacle.remedy}   or {elsewhere}" if obstacle.remedy else elsewhere,
        )


def refuse_full(node: ObservedNode, order: RestoreOrder) -> None:
    needed = int(sum(backup.data_bytes or backup.size_bytes for backup in order.chain) * _ROOM)
    needed += _SEGMENTS * order.backup.segment_bytes
    if isinstance(node.disk, Known) and node.disk.value.free_bytes + node.leftover_bytes < needed:
        raise PgtandemError(
            "PT-3009",
            f"the disk of {order.place} has {size_in_words(node.disk.value.free_bytes)} free, and the restore needs "
            f"{size_in_words(needed)}",
            why="That is what the backup unpacks to, a tenth more, and some WAL.",
            next_step="make room, or name a folder on a larger disk: --into DIR",
        )
