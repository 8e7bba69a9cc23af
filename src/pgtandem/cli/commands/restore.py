"""pgtandem restore: a moment of the past, in a folder of its own beside the cluster."""

import argparse
import contextlib
import json
import os
import posixpath
import shlex
import shutil
import sys
import time
from functools import partial

from pgtandem.apply.engine import Outcome
from pgtandem.apply.holding import GivesWay
from pgtandem.cli.changing import change
from pgtandem.cli.invocation import spelled
from pgtandem.cli.json_backups import restorable_json
from pgtandem.cli.named import named_backup, named_node
from pgtandem.cli.newer_wal import archive_it, archive_newer, tell_newer
from pgtandem.cli.restore_order import begun_before, order_restore
from pgtandem.cli.searching import find_target, search
from pgtandem.cli.show_intervals import interval_lines, point_lines, with_moments
from pgtandem.cli.targets import read_target, target_in_words
from pgtandem.cli.terminal import Paint, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.lsn import Timeline
from pgtandem.model.names import SUPERUSER
from pgtandem.model.restore import RESTORED, Interval, RestoreOrder, Searched, Target, TargetKind
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.observe.restorable import Restorable, observe_restorable
from pgtandem.plan.finishing import NotArchived, not_archived
from pgtandem.plan.intervals import choose
from pgtandem.plan.restore import plan_restore, refuses_writes, restore_topology
from pgtandem.ports import SUPERUSER_SECRET, World
from pgtandem.postgres.conninfo import render_passfile


def run(options: argparse.Namespace) -> int:
    """0 when it is restored (or shown), 2 when somebody said no or nothing can be restored."""
    path = topology_path(options)
    topology = read_topology(path)
    if options.to is None:
        _check_shown(options)
        return _show(path, topology, options)
    if options.names:
        raise PgtandemError("PT-1006", "--names shows what can be restored, so --to has no use there")
    if options.json:
        raise PgtandemError("PT-1006", "--json shows what can be restored, so --to has no use there")
    target = read_target(options.to, time.time())
    if options.node is not None:
        from pgtandem.cli.put_back import put_back

        return put_back(path, topology, target, options)

    async def work(world: World) -> tuple[Outcome, RestoreOrder, str | None]:
        order = await make_order(topology, world, target, options)
        question = partial(plan_restore, order=order)
        print(f"Restoring cluster {topology.cluster} to {target_in_words(target)}", flush=True)
        about = restore_topology(topology, order)
        outcome = await change(about, world, question, yes=options.yes, command="restore", gives=GivesWay.ALWAYS)
        return outcome, order, None if outcome.declined else _write_passfile(order, world)

    outcome, order, passfile = in_world(path, topology, work, options)
    if outcome.declined:
        return 2
    _tell(path, outcome, order, passfile, options)
    return 0


def _check_shown(options: argparse.Namespace) -> None:
    """What can be restored is shown, whatever else was asked for: then nobody must believe that it was done."""
    for name in ("node", "into", "like", "port", "timeline", "backup", "promote", "yes"):
        value = getattr(options, name)
        if value not in (None, False):
            words = f"--{name}" if value is True else f"--{name} {value}"
            raise PgtandemError(
                "PT-1006",
                f"restore without --to only shows what can be restored, so it has no use for --{name}",
                next_step=f"pgtandem restore --to latest {words}",
            )


async def make_order(
    topology: Topology, world: World, target: Target, options: argparse.Namespace, *, begun_elsewhere: bool = False
) -> RestoreOrder:
    """The whole order for what was asked for. A name or a transaction is looked for in WAL first, unless a restore to
    it was begun already (`begun_elsewhere`: in another folder than the order says). What the primary has written since
    the end of the archive is brought into it first, where the target lies there."""
    try:
        order, newer = await _order(topology, world, target, options, begun_elsewhere)
        if newer is None or not await archive_it(topology, world, target, newer, options):
            return order
    except PgtandemError as refusal:
        if refusal.code.text != "PT-3054" or not await archive_newer(topology, world, target, options):
            raise
    return (await _order(topology, world, target, options, begun_elsewhere))[0]


async def _order(
    topology: Topology, world: World, target: Target, options: argparse.Namespace, begun_elsewhere: bool
) -> tuple[RestoreOrder, NotArchived | None]:
    """And what surely has to be archived before, though the archive is younger than the target: how old what it has is
    shows only at the primary."""
    restorable = await observe_restorable(topology, world)
    if options.backup:
        named_backup(restorable.backups, options.backup)
    observed = await Observer(topology, world).cluster()

    async def order(target: Target, timeline: Timeline | None, backup: str | None) -> tuple[Interval, RestoreOrder]:
        try:
            interval = choose(restorable.intervals, target, timeline, backup)
        except PgtandemError as refusal:
            refusal.what = refusal.what.replace(str(target), target_in_words(target))
            refusal.why = with_moments(refusal.why)
            raise
        return interval, await order_restore(
            topology,
            world,
            observed,
            restorable,
            interval,
            target,
            like=named_node(topology, options.like),
            directory=options.into,
            port=options.port,
            promote=options.promote,
            replaces=options.node is not None,
        )

    interval, found = await order(target, options.timeline, options.backup)
    begun = await begun_before(world, found)
    if begun and options.timeline is None and options.backup is None:
        # By now there may be a newer backup, or a newer timeline.
        with contextlib.suppress(PgtandemError):
            return (await order(target, *begun))[1], None
    if begun or begun_elsewhere:
        return found, None
    if target.kind not in (TargetKind.NAME, TargetKind.XID):
        newer = not_archived(observed, restorable.intervals, target, options.timeline)
        if target.kind is TargetKind.LATEST:
            tell_newer(newer)
        return found, newer if target.moment is not None else None
    placed = await find_target(topology, world, observed, restorable, interval, found)
    if placed.lsn is None:
        return found, None
    # The choice is another one now: the newest backup before it.
    return (await order(placed, options.timeline, options.backup))[1], None


def _show(path: str, topology: Topology, options: argparse.Namespace) -> int:
    async def work(world: World) -> tuple[Restorable, Fact[Searched]]:
        restorable = await observe_restorable(topology, world)
        if not options.names or not restorable.intervals:
            return restorable, ABSENT
        observed = await Observer(topology, world).cluster()
        nothing = Target(TargetKind.NAME, "")
        interval = choose(restorable.intervals, nothing, None)
        order = await order_restore(topology, world, observed, restorable, interval, nothing)
        what = "restore points"
        return restorable, await search(topology, world, observed, restorable, interval, order, what, data=options.json)

    restorable, found = in_world(path, topology, work, options)
    points = found.value if isinstance(found, Known) else None
    if options.json:
        print(json.dumps(restorable_json(topology, restorable.intervals, points), indent=2))
    else:
        paint, columns = Paint(sys.stdout), min(width(sys.stdout), 100)
        print("\n".join(interval_lines(topology.cluster, restorable.intervals, paint, columns)))
        if points is not None:
            print("\n".join(point_lines(points, paint)))
        following = 'pgtandem restore --to "TIME"' if _sound(restorable) else "pgtandem backup --full"
        print(spelled(f"next:  {following}", path))
    if isinstance(found, Unknown):
        raise PgtandemError(
            "PT-3008", "could not read the restore points from WAL", why=found.sentence, next_step=found.next_step
        )
    return 0 if _sound(restorable) else 2


def _sound(restorable: Restorable) -> bool:
    """Whether anything can be restored from a backup that is not known to be damaged."""
    return any(each.spoilt is None for each in restorable.intervals)


def _tell(path: str, outcome: Outcome, order: RestoreOrder, passfile: str | None, options: argparse.Namespace) -> None:
    server = outcome.observed.nodes[RESTORED].running
    assert server is not None
    at = server.replay_lsn if server.in_recovery else server.current_lsn
    closed = refuses_writes(outcome.observed.nodes[RESTORED])
    state = "is paused in recovery" if server.in_recovery else "refuses writes" if closed else "takes writes"
    print(f"restored in {order.place}, at {at} of timeline {server.timeline}; it {state}")
    programs = outcome.observed.nodes[RESTORED].programs
    folder = programs.value.directory if isinstance(programs, Known) else ""
    there = "" if order.host.is_local else f"on {order.login}: "
    asks = f"psql -h {order.address} -p {order.port} -U postgres postgres"
    if passfile is None:
        print(f"look:  {there}{asks}   (the cluster's password: see .pgtandem/passfile)")
    else:
        print(f"look:  PGPASSFILE={shlex.quote(passfile)} {_program(folder, asks)}")
    if server.in_recovery:
        print(spelled(f"go on: {_promotion(order, options)}", path))
    # Each by its name: somebody else's files may lie beside them.
    made = " and ".join([order.directory, *(space for _, space in order.spaces)])
    stops = f"pg_ctl stop -D {order.directory}"
    if order.host.is_local:
        account = outcome.observed.nodes[RESTORED].account
        stops = _program(folder, stops)
        if os.geteuid() == 0 and isinstance(account, Known):
            # pg_ctl refuses root.
            stops = f"runuser -u {account.value} -- {stops}"
    print(f"end:   {there}{stops}, then remove {made}")


def _program(folder: str, line: str) -> str:
    """The command line with its program as it is found here: many a package does not put it into the PATH."""
    name, _, rest = line.partition(" ")
    path = posixpath.join(folder, name)
    return line if shutil.which(name) or not os.path.exists(path) else f"{shlex.quote(path)} {rest}"


def _write_passfile(order: RestoreOrder, world: World) -> str | None:
    """The passfile that leads to restored servers of this machine; None where that is elsewhere, or the superuser's
    password is not known here. A file of its own: clients of the cluster are not to send it to any port."""
    secret = world.workspace.secret(SUPERUSER_SECRET)
    if secret is None or not order.host.is_local:
        return None
    return world.workspace.write_passfile(render_passfile([(order.address, None, SUPERUSER, secret)]), restored=True)


def _promotion(order: RestoreOrder, options: argparse.Namespace) -> str:
    """The command that promotes what was restored, also from another day, on whose clock "14:03" is another moment."""
    text = order.target.text if order.target.moment is not None else options.to
    like = ["--like", order.like] if options.like else []
    return shlex.join(["pgtandem", "restore", "--to", text, *like, "--into", order.directory, "--promote"])
