"""What was cut off and is still there: restores for trial, and restores that were to take a node's place.

One sentence for each, for whoever tells of it. The first kind disturbs nobody. The second kind may have replaced the
data of one node already, and then the others have gone another way: nothing but the same restore brings them together
again, and what else one could want is for people to decide.
"""

import shlex
from collections.abc import Iterator

from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.observed import LEFTOVER_MARK, CutOffRestore, Observed
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.restored_places import drill_directory
from pgtandem.plan.roles import claims_primary, timeline_of
from pgtandem.plan.timelines import parted


@dataclass(frozen=True, slots=True)
class CutOff:
    """Near which node it was left, in which folder, what happened, and what to do about it."""

    node: NodeName
    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


def cut_off_drills(topology: Topology, observed: Observed) -> Iterator[CutOff]:
    for name in topology.names:
        for path, runs in observed.nodes[name].drills:
            server = ", and its server runs" if runs else ""
            into = path.partition(LEFTOVER_MARK)[0]
            where = "" if into == drill_directory(topology.node(name)) else f" --into {shlex.quote(into)}"
            removes = f"pgtandem drill --like {name}{where} removes it"
            yield CutOff(name, path, f"a restore drill was cut off and left {path}{server}", removes)


def cut_off_restores(topology: Topology, observed: Observed) -> Iterator[CutOff]:
    """Those that stand beside a cluster which is what it was."""
    for name in topology.names:
        for each in observed.nodes[name].restores:
            if each.in_place:
                continue
            if not each.command:
                what = f"a restore was cut off while it unpacked, and left {each.directory}"
                yield CutOff(name, each.directory, what, "the same restore begins anew, or remove that folder")
                continue
            server = ", with a server that runs" if each.runs else ""
            what = (
                f"a restore that was to take the place of {name} ended before it did, and left {each.directory}{server}"
            )
            first = f"pg_ctl stop -D {each.directory}, " if each.runs else ""
            removed = " and ".join(["it" if each.runs else each.directory, *each.places])
            gives_up = f"to give it up: {first}remove {removed}, then pgtandem apply"
            yield CutOff(name, each.directory, what, f"{_on(each)}; {gives_up}")


def half_restored(topology: Topology, observed: Observed) -> Iterator[CutOff]:
    """Those that have replaced the data of a node, while not every other node follows it."""
    for name in topology.names:
        for each in observed.nodes[name].restores:
            if not each.in_place:
                continue
            apart = _still_apart(topology, observed, name)
            if not apart and observed.nodes[name].directory is not None:
                continue
            here, moves = topology.node(name).data_directory, "each folder with that ending goes back to its place"
            if each.directory != here:
                what = f"a restore that takes the place of {name} was cut off while its folders were renamed"
                back = f"rename {each.aside} to {here} ({moves}), then pgtandem apply"
            else:
                what = f"a restore has taken the place of {name}, and was cut off before {' and '.join(apart)} followed"
                back = f"stop {name}, move {here} away, rename {each.aside} to it ({moves}), then pgtandem apply"
            yield CutOff(name, here, what, f"{_on(each)}; to give it up: {back}" if each.aside else _on(each))


def refuse_half_restored(topology: Topology, observed: Observed) -> None:
    """Raises PgtandemError PT-3059."""
    for each in half_restored(topology, observed):
        raise PgtandemError(
            "PT-3059",
            each.what,
            why="The nodes hold different pasts of the cluster, and only who restored it knows which one is to stay.",
            next_step=each.remedy,
            where=each.node,
        )


def _on(each: CutOffRestore) -> str:
    return f"{each.command} goes on with it"


def _still_apart(topology: Topology, observed: Observed, name: NodeName) -> list[NodeName]:
    """The other nodes that do not follow the restored one yet, as far as that is seen. Restored data has a timeline
    that is later than every other one. Where another node is the primary by now, that is another question."""
    node, primaries = observed.nodes[name], observed.primaries()
    if primaries and name not in primaries:
        return []
    top, latest = node.running, timeline_of(node)
    return [
        other
        for other in topology.names
        if other != name
        and (seen := observed.nodes[other]).directory is not None
        and timeline_of(seen) < latest
        and (top is None or claims_primary(seen) or parted(seen, top) is not None)
    ]
