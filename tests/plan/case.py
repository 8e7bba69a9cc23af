"""A case folder: topology.toml is what is wanted, observed.toml what there is, expected.txt the plan or the refusal.

observed.toml:

    built = "nothing"           or "topology.toml", or "earlier.toml" (a third file): a healthy cluster of that file
    primary = "db2"             where it is another than the first node
    question = "down"           or "destroy", "switchover", "switchover to db2", "rejoin db1", "failover",
                                "failover to db2, dead, archive lost", "backup",
                                "incremental backup", "restore", "drill" and their kin
                                in `QUESTIONS`; the usual one is what `pgtandem plan` asks

    [nodes.db2]                 what differs on a node, also on one that only earlier.toml has
    is = "stopped"              one of the words in `healthy`
    data.standby_signal = false and any fact of ObservedNode by the names of its fields, as in `overlay`

    [pgbouncers.pool1]          facts of the ObservedPgbouncer

    [archive]                   facts of the ArchiveFolder; archive = "absent" where it is gone
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cli.streams import Pipe
from pgtandem.cli.show_error import error_lines
from pgtandem.cli.show_plan import plan_lines
from pgtandem.cli.terminal import Paint
from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Backup, BackupKind, Verified
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import NodeFiles, Plan
from pgtandem.model.restore import RestoreOrder, Target, TargetKind
from pgtandem.model.topology import LOCAL, Topology
from pgtandem.plan.archive_prune import plan_archive_prune
from pgtandem.plan.backup import order_backup, plan_backup
from pgtandem.plan.candidates import Limits
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.drill import plan_drill
from pgtandem.plan.failover import choose_for_failover, plan_failover
from pgtandem.plan.intervals import choose
from pgtandem.plan.passwords import plan_rotation
from pgtandem.plan.put_back import plan_put_back
from pgtandem.plan.rejoin import plan_rejoin
from pgtandem.plan.restore import plan_restore
from pgtandem.plan.restored_places import refuse_shared_spaces
from pgtandem.plan.stop import plan_destroy, plan_down
from pgtandem.plan.switchover import choose_successor, plan_switchover
from pgtandem.topology.load import load_topology

from .healthy import NOW, SYSTEM, healthy, look, nothing
from .overlay import overlaid

FOLDER = "/srv/shop"
COLUMNS = 100


def _failover(topology: Topology, observed: Observed) -> Plan:
    """As `pgtandem failover` asks where nobody named a node."""
    return plan_failover(topology, observed, choose_for_failover(topology, observed))


def _switchover(topology: Topology, observed: Observed) -> Plan:
    """As `pgtandem switchover` asks where nobody named a node."""
    return plan_switchover(topology, observed, choose_successor(topology, observed, Limits()), Limits())


def _backup(kind: BackupKind | None, source: str | None = None) -> Callable[[Topology, Observed], Plan]:
    """As `pgtandem backup` asks, alone or with `--full` or `--incremental`, and with `--from`."""

    def asked(topology: Topology, observed: Observed) -> Plan:
        node = NodeName(source) if source else None
        return plan_backup(topology, observed, order_backup(topology, observed, kind, node, NOW))

    return asked


def _restore(
    *,
    promote: bool = False,
    drill: float | None = None,
    like: str = "db2",
    breaks_off: str | None = None,
    bad: str = "",
) -> RestoreOrder:
    """As `pgtandem restore --to 0/26000000` orders it; topology.toml has the restored server as its one node."""
    made = Backup(
        *("20270115T070000Z-full", BackupKind.FULL, NodeName("db2"), "shop", SYSTEM, 18, Timeline(1)),
        *(Lsn.parse("0/25000028"), Lsn.parse("0/25000100"), NOW - 60, NOW, 16 * 1024 * 1024),
        size_bytes=74_000_000,
        folder=f"{FOLDER}/archive/{SYSTEM}/backups/20270115T070000Z-full",
        verified=Verified(NOW, bad) if bad else None,
    )
    target = Target(TargetKind.LSN, "0/26000000", lsn=Lsn.parse("0/26000000"))
    return RestoreOrder(
        *(target, Timeline(1), (made,), Lsn.parse("0/27000000"), f"{FOLDER}/data/restored", LOCAL, "127.0.0.1", 5432),
        like=NodeName(like),
        files=NodeFiles((), "", standby=False, passfile_nodes=()),
        restore_command="cp /archive/%f %p",
        promote=promote,
        drill=drill,
        breaks_off=breaks_off,
    )


def _no_backup(topology: Topology, observed: Observed) -> Plan:
    choose((), _restore().target, None)
    raise AssertionError("there is none")


def _restore_beside(topology: Topology, observed: Observed) -> Plan:
    refuse_shared_spaces(topology, observed, LOCAL, _restore().backup)
    raise AssertionError("it is not refused")


QUESTIONS = {
    "restore": partial(plan_restore, order=_restore()),
    "restore and promote": partial(plan_restore, order=_restore(promote=True)),
    "restore before a hole": partial(plan_restore, order=_restore(breaks_off="000000010000000000000027")),
    "restore from a damaged backup": partial(plan_restore, order=_restore(bad="base.tar is 5 bytes too short")),
    "restore without a backup": _no_backup,
    "restore beside": _restore_beside,
    "put back": partial(plan_put_back, order=_restore(promote=True, like="db1"), aside=f"{FOLDER}/data/db1-before"),
    "put back db2": partial(plan_put_back, order=_restore(promote=True), aside=f"{FOLDER}/data/db2-before"),
    "drill": partial(plan_drill, order=_restore(drill=NOW)),
    "backup": _backup(BackupKind.FULL),
    "backup without a word": _backup(None),
    "backup from db1": _backup(BackupKind.FULL, "db1"),
    "archive prune": partial(plan_archive_prune, now=NOW),
    "incremental backup": _backup(BackupKind.INCREMENTAL),
    "converge": plan_converge,
    "down": plan_down,
    "destroy": plan_destroy,
    "switchover": _switchover,
    "failover": _failover,
    "rotate passwords": partial(plan_rotation, before=""),
}


@dataclass(frozen=True)
class Case:
    topology: Topology
    observed: Observed
    question: str

    @classmethod
    def read(cls, folder: Path) -> "Case":
        """Raises what is wrong with the folder's files."""
        topology, table = _topology(folder / "topology.toml"), tomllib.loads((folder / "observed.toml").read_text())
        differences = table.pop("nodes", {})
        observed = _observed(folder, topology, table.pop("built"), table.pop("primary", None), differences)
        question = table.pop("question", "converge")
        return cls(topology, overlaid(observed, table) if table else observed, question)

    def plan(self) -> Plan:
        """Raises PgtandemError where the planner refuses."""
        question, _, to = self.question.partition(" to ")
        if question.startswith("rejoin "):
            name, _, copy = question.removeprefix("rejoin ").partition(", ")
            return plan_rejoin(self.topology, self.observed, NodeName(name), copy=copy == "copied")
        if question == "failover" and to:
            name, *words = to.split(", ")
            dead, archive_lost = "dead" in words, "archive lost" in words
            return plan_failover(self.topology, self.observed, NodeName(name), dead=dead, archive_lost=archive_lost)
        if to:
            return plan_switchover(self.topology, self.observed, NodeName(to), Limits())
        return QUESTIONS[question](self.topology, self.observed)

    def refusal(self) -> PgtandemError | None:
        try:
            self.plan()
        except PgtandemError as refusal:
            return refusal
        return None

    def shown(self) -> str:
        """What a person sees, and below a plan which steps each step waits for, since steps run side by side."""
        paint = Paint(Pipe())
        try:
            plan = self.plan()
        except PgtandemError as refusal:
            return "\n".join(error_lines(refusal, None, paint, COLUMNS)) + "\n"
        lines = plan_lines(plan, self.topology.cluster, paint, COLUMNS)
        return "\n".join(lines + _order(plan)) + "\n"


def _topology(path: Path) -> Topology:
    return load_topology(path.read_text(), folder=FOLDER, source=path.name)


def _observed(
    folder: Path, topology: Topology, built: str, primary: str | None, differences: dict[str, Any]
) -> Observed:
    states = {name: table.pop("is") for name, table in differences.items() if "is" in table}
    if built == "nothing":
        observed = nothing(topology)
    else:
        before = _topology(folder / built)
        first = NodeName(primary or before.nodes[0].name)
        observed = look(topology, before, healthy(before, first, states), first)
    nodes = {name: overlaid(node, differences.pop(name, {})) for name, node in observed.nodes.items()}
    former = tuple(
        replace(former, observed=overlaid(former.observed, differences.pop(former.name, {})))
        for former in observed.former
    )
    assert not differences, f"observed.toml speaks of nodes that are not there: {', '.join(differences)}"
    return replace(observed, nodes=nodes, former=former)


def _order(plan: Plan) -> list[str]:
    """Each step's id and the steps that it waits for itself; what those wait for is left out."""
    if plan.empty:
        return []
    before: dict[str, set[str]] = {}
    lines = ["", "What each step waits for:"]
    wide = max(len(step.id) for step in plan.steps)
    for step in plan.steps:
        indirect = {earlier for need in step.waits_for for earlier in before[need]}
        before[step.id] = indirect | set(step.waits_for)
        direct = ", ".join(need for need in step.waits_for if need not in indirect)
        lines.append(f"  {step.id:<{wide}}  {direct}".rstrip())
    return lines
