"""pgtandem restore --node: what was restored takes a node's place, and every other node follows it."""

import argparse
import posixpath
from datetime import UTC, datetime
from functools import partial

from pgtandem.apply.engine import Question
from pgtandem.apply.holding import GivesWay
from pgtandem.apply.swapped_places import refuse_immovable
from pgtandem.cli.changing import change, write_client_passfile
from pgtandem.cli.commands.restore import make_order
from pgtandem.cli.invocation import spelled
from pgtandem.cli.named import named_node
from pgtandem.cli.targets import target_in_words
from pgtandem.cli.workbench import in_world
from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.restore import RestoreOrder, Target
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.put_back import plan_follow, plan_forget_restore, plan_put_back, put_back_done
from pgtandem.plan.recovery import RESTORE_FILE, in_place_of, recorded, same_target
from pgtandem.plan.restore import plan_restore, restore_topology
from pgtandem.ports import World


def put_back(path: str, topology: Topology, target: Target, options: argparse.Namespace) -> int:
    """0 when the cluster is what it was at the target, 2 when somebody said no."""
    name = named_node(topology, options.node)
    assert name is not None
    if options.like not in (None, name):
        raise PgtandemError("PT-1006", "--node and --like name two nodes", next_step="leave --like out")
    options.like, options.promote = name, True
    aside = in_world(path, topology, lambda world: _all(topology, world, target, options), options)
    if aside is None:
        return 2
    print(f"cluster {topology.cluster} is what it was at {target_in_words(target)}; {name} is the primary")
    print(f"what {name} had before is in {aside}: remove that when nobody needs it any more")
    print(spelled("next:  pgtandem backup --full", path))
    return 0


async def _all(topology: Topology, world: World, target: Target, options: argparse.Namespace) -> str | None:
    """Where the old data is; None when somebody said no. Each part is a plan, and what is done is not done again."""

    async def said_no(question: Question, about: Topology, gives: GivesWay = GivesWay.NEVER) -> bool:
        return (await change(about, world, question, yes=options.yes, command="restore", gives=gives)).declined

    begun = await _as_before(topology, world, target, options)
    order = await make_order(topology, world, target, options, begun_elsewhere=begun)
    node = topology.node(order.like)
    places = [node.data_directory, *(path for _, path in order.chain[0].tablespaces)]
    await refuse_immovable(world.host(node.host), [*places, *([node.wal_directory] if node.wal_directory else [])])
    aside = await _aside(topology, world, order)
    if not put_back_done(await Observer(topology, world).cluster(), order):
        print(f"First beside the cluster: {target_in_words(target)}", flush=True)
        beside = restore_topology(topology, order)
        if await said_no(partial(plan_restore, order=order), beside, GivesWay.ALWAYS):
            return None
    if await said_no(partial(plan_put_back, order=order, aside=aside), topology):
        return None
    others = [other for other in topology.names if other != order.like]
    questions: list[Question] = [partial(plan_follow, order=order, name=other) for other in others]
    for number, question in enumerate((*questions, plan_converge)):
        try:
            if await said_no(question, topology):
                print(_half_way(order, aside, others[number:]))
                return None
        except PgtandemError as failure:
            failure.why = f"{failure.why}\n{_half_way(order, aside, others[number:])}".strip()
            again = "the same restore again, which goes on"
            failure.next_step = f"{failure.next_step}; then {again}" if failure.next_step else again
            raise
    # A note of pgtandem's own: there is nothing that somebody would want to say no to.
    await change(topology, world, partial(plan_forget_restore, order=order), yes=True, command="restore")
    write_client_passfile(topology, world)
    if order.spaces or order.wal is not None:
        ending = aside.removeprefix(node.data_directory)
        return f"{aside}, and in folders that end with {ending} beside its tablespaces and WAL"
    return aside


def _half_way(order: RestoreOrder, aside: str, left: list[NodeName]) -> str:
    """What is done and what is not, for whoever is told only what went wrong with another node."""
    done = (
        f"The restore itself is done: {order.like} is the primary, brought to {target_in_words(order.target)}; what it "
        f"had before is in {aside}."
    )
    follow = f"{' and '.join(left)} {'does' if len(left) == 1 else 'do'} not follow it yet." if left else ""
    return f"{done} {follow or 'Every other node follows it.'}"


async def _as_before(topology: Topology, world: World, target: Target, options: argparse.Namespace) -> bool:
    """A run that was cut off has chosen a timeline and a backup; by now there may be newer ones. Whether there was
    such a run."""
    node, begun = topology.node(options.like), False
    host, parent = world.host(node.host), posixpath.dirname(node.data_directory)
    for name in await host.list_directory(parent) or ():
        if name.startswith(posixpath.basename(node.data_directory)) and not name.endswith(".log"):
            content = await host.read_file(posixpath.join(parent, name, RESTORE_FILE)) or b""
            note = content.decode(errors="replace")
            if name == posixpath.basename(node.data_directory) and not in_place_of(note, node.name):
                continue
            value = recorded(note) or {}
            backups, timeline = value.get("backups"), value.get("timeline")
            here = (value.get("target"), value.get("value"), value.get("drill"))
            if here == (target.kind.value, target.text, None) and isinstance(backups, list):
                options.backup = str(backups[-1])
                options.timeline = timeline if isinstance(timeline, int) else options.timeline
                begun = True
    return begun


async def _aside(topology: Topology, world: World, order: RestoreOrder) -> str:
    """A name that nothing has yet; that of an earlier run where it got so far."""
    node = topology.node(order.like)
    host, (parent, own) = world.host(node.host), posixpath.split(node.data_directory)
    names = await host.list_directory(parent) or ()
    note = (await host.read_file(posixpath.join(node.data_directory, RESTORE_FILE)) or b"").decode(errors="replace")
    before = sorted(name for name in names if name.startswith(f"{own}-before-restore-"))
    if before and ((same_target(note, order) and in_place_of(note, order.like)) or own not in names):
        return posixpath.join(parent, before[-1])
    stamp = datetime.fromtimestamp(world.clock.now(), UTC).strftime("%Y%m%dT%H%M%SZ")
    return posixpath.join(parent, f"{own}-before-restore-{stamp}")
