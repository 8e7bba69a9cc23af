"""Looking for a restore point or a transaction before a restore begins, with what there is to see meanwhile."""

import sys

from pgtandem.cli.show_intervals import with_moments
from pgtandem.cli.targets import target_in_words
from pgtandem.cli.terminal import can_rewrite
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.observed import Observed
from pgtandem.model.restore import Interval, RestoreOrder, Searched, Target, TargetKind
from pgtandem.model.topology import Topology
from pgtandem.observe.restorable import Restorable
from pgtandem.observe.wal_search import can_search, count_segments, search_wal, surely_absent
from pgtandem.plan.found_points import place_in_words, places_of, several_in_words, target_with_place
from pgtandem.ports import World


async def find_target(
    topology: Topology,
    world: World,
    observed: Observed,
    restorable: Restorable,
    interval: Interval,
    order: RestoreOrder,
) -> Target:
    """The target with its position in WAL; as it is where that could not be found out, which is said.

    Raises PgtandemError PT-3054 where it is not there.
    """
    target = order.target
    found = await search(topology, world, observed, restorable, interval, order, target_in_words(target))
    why = found.value.trouble if isinstance(found, Known) else found.reason
    if isinstance(found, Unknown) and target.kind is TargetKind.NAME:
        where = topology.node(order.like).data_directory
        if await surely_absent(world, restorable, interval, order, where, target.text):
            raise PgtandemError(
                "PT-3054",
                f"cannot restore to {target}",
                why=f"These bytes are nowhere in the WAL between {interval.backup.start_lsn}, where backup "
                f"{interval.backup.label} begins, and {interval.end}. Which names are there only pg_waldump tells "
                f"({why}).",
                next_step=found.next_step or "pgtandem restore   (shows what can be restored)",
            )
    if isinstance(found, Unknown) or (why and not places_of(target, found.value)):
        print(f"{target_in_words(target)}: whether it is there, recovery tells at its end ({why})", flush=True)
        return target
    try:
        placed = target_with_place(target, found.value, interval)
    except PgtandemError as refusal:
        refusal.why = with_moments(refusal.why)
        raise
    print(f"found at {with_moments(place_in_words(places_of(target, found.value)[0]))}", flush=True)
    if several := several_in_words(target, found.value):
        print(with_moments(several), flush=True)
    return placed


async def search(
    topology: Topology,
    world: World,
    observed: Observed,
    restorable: Restorable,
    interval: Interval,
    order: RestoreOrder,
    what: str,
    *,
    data: bool = False,
) -> Known[Searched] | Unknown:
    """Tells that it searches, and how far it is where the line can be written anew; on stderr where stdout is for
    data."""
    programs = observed.nodes[order.like].programs
    folder = programs.value.directory if isinstance(programs, Known) else ""
    if not await can_search(world, order, folder):
        return Unknown("there is no pg_waldump", f"it belongs beside the programs of {order.like}, in {folder}")
    stream, count = sys.stderr if data else sys.stdout, count_segments(interval)
    redraws = can_rewrite(stream)
    line = f"looking for {what} in {count} segment{'s' if count > 1 else ''} of archived WAL"
    print(line, end="" if redraws else "\n", file=stream, flush=True)

    def tell(number: int) -> None:
        if redraws:
            print(f"\r\x1b[K{line}: {number}", end="", file=stream, flush=True)

    try:
        return await search_wal(
            world,
            restorable,
            interval,
            order,
            topology.node(order.like).data_directory,
            folder,
            order.target.text if order.target.kind is TargetKind.XID else "",
            tell,
        )
    finally:
        if redraws:
            print(file=stream, flush=True)
