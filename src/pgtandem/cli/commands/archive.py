"""pgtandem archive: what the WAL archive holds, whether it is whole, what can be restored from it, and what may go."""

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from textwrap import wrap

from pgtandem.apply.engine import Outcome
from pgtandem.apply.holding import GivesWay
from pgtandem.cli.changing import change
from pgtandem.cli.invocation import spelled
from pgtandem.cli.json_archive import archive_json
from pgtandem.cli.show_archive import archive_lines
from pgtandem.cli.terminal import Paint, can_rewrite, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.errors import PgtandemError
from pgtandem.model.archive_report import ArchiveReport
from pgtandem.model.backup import Backups
from pgtandem.model.facts import Known, Unknown, value_or_none
from pgtandem.model.observed import ControlData, Observed
from pgtandem.model.topology import Topology
from pgtandem.observe.archive_check import check_files, check_streamed
from pgtandem.observe.archived import (
    all_archived_wal,
    archive_folder,
    observe_archived_wal,
    refuse_missing_archive,
)
from pgtandem.observe.cluster import Observer
from pgtandem.plan.archive_prune import plan_archive_prune, why_it_stays
from pgtandem.plan.archive_report import archive_report
from pgtandem.plan.kept_archive import kept_archive, no_archive_there
from pgtandem.ports import World
from pgtandem.postgres.archive_content import wal_name


def run(options: argparse.Namespace) -> int:
    """0 when nothing is wrong, 2 when something is, or when somebody said no to `prune`."""
    if options.action not in (None, "list", "verify", "prune"):
        what = f'archive has no action "{options.action}"'
        raise PgtandemError("PT-1006", what, next_step="pgtandem archive list, verify or prune")
    what = ""
    if options.json and options.action == "prune":
        what = "--json is for archive list and verify"
    elif options.yes and options.action != "prune":
        what = f"archive {options.action or 'list'} changes nothing and asks nothing, so it has no use for --yes"
    if what:
        raise PgtandemError("PT-1006", what, next_step="pgtandem archive --help")
    path = topology_path(options)
    topology = read_topology(path)
    kept_archive(topology, "prune" if options.action == "prune" else "check")
    if options.action == "prune":
        return _prune(path, topology, options)

    async def work(world: World) -> ArchiveReport:
        return await _report(topology, world, verify=options.action == "verify")

    report = in_world(path, topology, work, options)
    if options.json:
        print(json.dumps(archive_json(topology, report), indent=2))
    else:
        columns = min(width(sys.stdout), 100)
        print(spelled("\n".join(archive_lines(topology, report, Paint(sys.stdout), columns)), path))
    return 2 if report.damages else 0


def _prune(path: str, topology: Topology, options: argparse.Namespace) -> int:
    async def work(world: World) -> Outcome:
        question = partial(plan_archive_prune, now=world.clock.now())
        outcome = await change(
            topology, world, question, yes=options.yes, command="archive prune", gives=GivesWay.ALWAYS
        )
        if not outcome.steps_done:
            await refuse_missing_archive(topology, world)
        return outcome

    outcome = in_world(path, topology, work, options)
    if outcome.declined:
        return 2
    if outcome.steps_done:
        print(f"the archive of cluster {topology.cluster} holds what [backup] asks to keep")
    else:
        notes = " ".join(outcome.plan.notes) or f"{why_it_stays(topology, outcome.observed)}."
        print("\n".join(wrap(f"nothing to remove: {notes}", min(width(sys.stdout), 100))))
    print(spelled("next:  pgtandem archive", path))
    return 0


async def _report(topology: Topology, world: World, *, verify: bool) -> ArchiveReport:
    observed = await Observer(topology, world).cluster()
    control = _control(topology, observed)
    archive = topology.archive
    assert archive is not None
    looks = await observe_archived_wal(topology, world, control.system_identifier, control.wal_segment_bytes)
    fact = all_archived_wal(looks)
    if isinstance(fact, Unknown):
        raise PgtandemError(
            "PT-3008", "could not look at the WAL archive", why=fact.sentence, next_step="pgtandem status"
        )
    if not isinstance(fact, Known):
        raise no_archive_there(topology)
    wal = fact.value
    backups = value_or_none(observed.backups) or Backups()
    report = archive_report(control.system_identifier, archive.directory, wal, backups)
    if not verify:
        return report
    folder, damages, unknown, done = archive_folder(archive, control.system_identifier), [], [], 0
    sound: set[str] = set()
    bad: set[str] = set()

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if can_rewrite(sys.stderr):
            print(f"\r{done} of {wal.content.file_count} files", end="", file=sys.stderr, flush=True)

    for address in topology.archive_hosts:
        host = world.host(address)
        stored = [name for name in await host.list_directory(folder) or () if wal_name(name)]
        found, without = await check_files(host, folder, stored, tell)
        damages += found + await check_streamed(host, folder)
        spoilt = {damage.file for damage in found}
        for name in stored:
            (bad if name in spoilt else sound).add((wal_name(name) or (name,))[0])
        unknown += without
    if can_rewrite(sys.stderr) and done:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    report = archive_report(control.system_identifier, archive.directory, wal, backups, frozenset(bad - sound))
    return replace(
        report, damages=(*report.damages, *damages), checked=done - len(unknown), without_checksum=tuple(unknown)
    )


def _control(topology: Topology, observed: Observed) -> ControlData:
    """Of any node that has data: the system identifier and the size of a segment are those of the cluster."""
    for seen in observed.nodes.values():
        if seen.control is not None:
            return seen.control
    raise PgtandemError(
        "PT-3008",
        f"no node of cluster {topology.cluster} has data that tells its system identifier",
        why="The archive has a folder for each, and which one is this cluster's only a data directory says.",
        next_step="pgtandem status",
    )
