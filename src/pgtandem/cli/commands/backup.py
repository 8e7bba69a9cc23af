"""pgtandem backup: a base backup into the archive; the list of those that are there; their check."""

import argparse
import json
import sys
from functools import partial

from pgtandem.apply.engine import Outcome
from pgtandem.apply.holding import GivesWay
from pgtandem.cli.changing import change
from pgtandem.cli.invocation import spelled
from pgtandem.cli.json_backups import backups_json
from pgtandem.cli.named import named_backup, named_node
from pgtandem.cli.show_backups import backup_lines
from pgtandem.cli.terminal import Paint, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.errors import PgtandemError
from pgtandem.model.backup import BackupKind, Backups
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.topology import Topology
from pgtandem.observe.archived import refuse_missing_archive
from pgtandem.observe.cluster import Observer
from pgtandem.plan.backup import order_backup, plan_backup, plan_verify
from pgtandem.plan.kept_archive import kept_archive
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 when it is done, 2 when somebody said no; `list` is 2 where the last backup is not known to be good."""
    path = topology_path(options)
    topology = read_topology(path)
    _check(options)
    if options.action == "list":
        return _list(path, topology, options)
    if options.action == "verify":
        return _verify(path, topology, options)
    return _take(path, topology, options)


def _check(options: argparse.Namespace) -> None:
    what = ""
    if options.action not in (None, "list", "verify"):
        what = f'backup has no action "{options.action}"'
    elif options.labels and options.action != "verify":
        what = f'backup {options.action} does not know what to do with "{options.labels[0]}"'
    elif options.action and (options.full or options.incremental or options.source):
        what = f"backup {options.action} takes no backup, so it has no use for that option"
    elif options.action and options.yes:
        what = f"backup {options.action} asks nothing, so it has no use for --yes"
    elif options.json and options.action != "list":
        what = "--json is for backup list"
    if what:
        raise PgtandemError("PT-1006", what, next_step="pgtandem backup --help")


def _take(path: str, topology: Topology, options: argparse.Namespace) -> int:
    source = named_node(topology, options.source)
    kind = BackupKind.FULL if options.full else BackupKind.INCREMENTAL if options.incremental else None

    async def work(world: World) -> tuple[Outcome, str]:
        observed = await Observer(topology, world).cluster()
        order = order_backup(topology, observed, kind, source, world.clock.now())
        question = partial(plan_backup, order=order)
        outcome = await change(topology, world, question, yes=options.yes, command="backup", gives=GivesWay.ALWAYS)
        return outcome, order.label

    outcome, label = in_world(path, topology, work, options)
    if outcome.declined:
        return 2
    print(f"backup {label} of cluster {topology.cluster} is in the archive, whole and verified")
    print(spelled("next:  pgtandem backup list", path))
    return 0


def _verify(path: str, topology: Topology, options: argparse.Namespace) -> int:
    kept_archive(topology, "verify")

    async def work(world: World) -> Outcome:
        for label in options.labels:
            named_backup(await _backups(topology, world), label)
        question = partial(plan_verify, labels=tuple(options.labels), since=world.clock.now())
        outcome = await change(topology, world, question, yes=True, command="backup verify", gives=GivesWay.ALWAYS)
        if not outcome.steps_done:
            await _backups(topology, world)  # that there is none to verify is only so where there is an archive
        return outcome

    outcome = in_world(path, topology, work, options)
    count = outcome.steps_done
    print(f"{count} backup{'' if count == 1 else 's'} verified" if count else "there is no backup to verify")
    return 0


def _list(path: str, topology: Topology, options: argparse.Namespace) -> int:
    async def work(world: World) -> tuple[Backups, float]:
        return await _backups(topology, world), world.clock.now()

    backups, now = in_world(path, topology, work, options)
    if options.json:
        print(json.dumps(backups_json(topology, backups, now), indent=2))
    else:
        print("\n".join(backup_lines(topology, backups, now, Paint(sys.stdout), width(sys.stdout))))
        if not backups.kept:
            print(spelled("next:  pgtandem backup", path))
    return 0 if backups.kept and backups.kept[-1].sound else 2


async def _backups(topology: Topology, world: World) -> Backups:
    kept_archive(topology, "list")
    fact = await Observer(topology, world).backups_to_restore()
    if isinstance(fact, Unknown):
        raise PgtandemError("PT-3008", "could not look at the backups", why=fact.sentence, next_step="pgtandem status")
    backups = fact.value if isinstance(fact, Known) else Backups()
    if not backups.kept:
        await refuse_missing_archive(topology, world)
    return backups
