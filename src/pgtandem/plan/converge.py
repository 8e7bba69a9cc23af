"""From any state to the wished one: building, completing a half-built cluster, and changing a running one.

The plan is a difference: every wished thing that is seen to be there leads to no step. What cannot be seen yet (a
stopped server's roles, say) leads to a plan that ends with "look again". Order: programs, primary, archive, role,
slots, standbys from the top of the cascade down, the archive's proof, and the synchronous settings last, because a
commit must never wait for a standby that does not exist yet.
"""

from dataclasses import dataclass, field, replace

from pgtandem.model.facts import Absent, Known
from pgtandem.model.names import REPLICATION_ROLE, SLOT_PREFIX, NodeName, slot_name
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, NodeFiles, Plan, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.plan.conditions import judge
from pgtandem.plan.desired import (
    Wish,
    confirming,
    desired_files,
    desired_settings,
    files_differ,
    kept_above_wish,
    settings_in_place,
    streams,
)
from pgtandem.plan.drift import RESPELLED, Drift, drift_of, unanswered
from pgtandem.plan.durability import durability_in_words, single_failures
from pgtandem.plan.order import ordered
from pgtandem.plan.refusals import refuse_foreign, refuse_unsafe
from pgtandem.plan.roles import decide_primary
from pgtandem.postgres.conf import SETTINGS_FILE, parse_settings
from pgtandem.postgres.settings import canonical, setting_spec


def plan_converge(topology: Topology, observed: Observed) -> Plan:
    """The plan that makes the cluster what the topology says; empty when it is.

    Raises PgtandemError of the PLAN family when going on would be unsafe, with every reason.
    """
    refuse_foreign(topology, observed)
    primary = decide_primary(topology, observed)
    wish = Wish(topology, observed, primary)
    refuse_unsafe(wish)
    return _Converge(wish).plan()


def cascade_order(wish: Wish) -> tuple[NodeName, ...]:
    """The primary, then every standby after its upstream, in the file's order otherwise."""
    order = [wish.primary]
    while len(order) < len(wish.topology.nodes):
        order += [name for name in wish.topology.names if name not in order and wish.upstream(name) in order]
    return tuple(order)


@dataclass
class _Converge:
    """The plan while it grows: steps in the order of their creation, notes, and what is only seen later."""

    wish: Wish
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    look_again: bool = False

    # -- small words ------------------------------------------------------------------------------------------------

    def has(self, step_id: str) -> bool:
        return any(step.id == step_id for step in self.steps)

    def add(self, step: Step) -> None:
        programs = self.programs(step.node) if not step.programs else step.programs
        self.steps.append(replace(step, programs=programs))

    def programs(self, name: NodeName) -> str:
        if name not in self.wish.observed.nodes:
            return ""
        fact = self.wish.seen(name).programs
        if not isinstance(fact, Known):
            return ""
        return fact.value.directory if fact.value.usable else fact.value.copy_to

    def builds(self, name: NodeName) -> bool:
        return isinstance(self.wish.seen(name).data, Absent)

    # -- the whole --------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        wish = self.wish
        self._account()
        for name in cascade_order(wish):
            self._programs(name)
            self._leftovers(name)
        self._primary()
        for name in cascade_order(wish)[1:]:
            self._standby(name)
        self._primary_restart()
        self._check_archive()
        self._sync_last()
        self._needless_slots()
        self._former()
        if confirming(wish) or self.steps:
            self.notes.insert(0, f"Durability: {durability_in_words(wish.topology)}.")
        return Plan(
            primary=wish.primary,
            steps=ordered(self.steps),
            notes=tuple(self.notes),
            consequences=single_failures(wish.topology, wish.primary),
            look_again=self.look_again,
        )

    # -- hosts ------------------------------------------------------------------------------------------------------

    def _account(self) -> None:
        for name in self.wish.topology.names:
            if isinstance(self.wish.seen(name).account, Absent) and not self.has("host.account"):
                self.add(
                    Step(
                        "host.account",
                        StepKind.CREATE_ACCOUNT,
                        name,
                        'create the system account "pgtandem"',
                        "PostgreSQL refuses to run as root, and there is no account for it yet.",
                        Risk.CREATE,
                        undo="userdel pgtandem",
                    )
                )

    def _programs(self, name: NodeName) -> None:
        fact = self.wish.seen(name).programs
        if not isinstance(fact, Known) or fact.value.usable:
            return
        step_id = "host.programs"
        if not self.has(step_id):
            self.add(
                Step(
                    step_id,
                    StepKind.COPY_PROGRAMS,
                    name,
                    f"copy PostgreSQL {fact.value.version} to {fact.value.copy_to}",
                    f"The account that servers run as cannot reach {fact.value.directory}.",
                    Risk.CREATE,
                    needs=("host.account",),
                    undo="remove that folder",
                    names=(fact.value.directory, fact.value.copy_to),
                )
            )

    def _leftovers(self, name: NodeName) -> None:
        leftovers = self.wish.seen(name).leftovers
        if leftovers:
            self.add(
                Step(
                    f"{name}.leftovers",
                    StepKind.REMOVE_LEFTOVERS,
                    name,
                    f"remove what an interrupted run left half made ({len(leftovers)})",
                    "They were never in use: a copy gets its final name only when it is whole.",
                    Risk.CREATE,
                    names=leftovers,
                )
            )

    # -- the primary ------------------------------------------------------------------------------------------------

    def _sync_later(self) -> bool:
        """Whether the synchronous settings must wait: too few of the standbys that could confirm stream now."""
        wish = self.wish
        if not confirming(wish):
            return False
        candidates = wish.sync_candidates(wish.primary)
        streaming = [name for name in candidates if streams(wish, name)]
        return len(streaming) < min(wish.topology.replication.synchronous.count, len(candidates))

    def _primary(self) -> None:
        wish, name = self.wish, self.wish.primary
        files = desired_files(wish, name, keep_sync=self._sync_later())
        if self.builds(name):
            self._create_primary(files)
        else:
            self._change(name, files, drift_of(wish, name, keep_sync=self._sync_later()), restart_later=True)
        self._archive_folder()
        if not isinstance(wish.seen(name).postmaster, Known) or unanswered(wish.seen(name)):
            self._start(name, "is_primary", (f"{name}.data", f"{name}.files", "archive.folder"))
        self._role()
        for standby in wish.topology.standbys_of(name, name):
            self._slot(name, standby)

    def _create_primary(self, files: NodeFiles) -> None:
        name = self.wish.primary
        directory = self.wish.node(name).data_directory
        self.add(
            Step(
                f"{name}.data",
                StepKind.CREATE_DATA_DIRECTORY,
                name,
                f"create the data directory {directory}",
                f"{name} is the first node of the topology file and starts as the primary "
                "(initdb: checksums, SCRAM, UTF-8).",
                Risk.CREATE,
                needs=("host.account", "host.programs", f"{name}.leftovers"),
                expects=(Condition("data_absent", name),),
                proves=(Condition("data_is_ours", name, name),),
                undo="pgtandem down --destroy",
                files=files,
            )
        )

    def _archive_folder(self) -> None:
        topology, archive = self.wish.topology, self.wish.observed.archive
        if topology.archive is None or (isinstance(archive, Known) and self._archive_has_us()):
            return
        name = self.wish.primary
        self.add(
            Step(
                "archive.folder",
                StepKind.CREATE_ARCHIVE,
                name,
                f"create the WAL archive in {topology.archive.directory}",
                "The primary keeps every finished WAL segment there.",
                Risk.CREATE,
                needs=("host.account", f"{name}.data"),
                proves=(Condition("archive_ready", name),),
                undo="remove the folder named after the system identifier",
            )
        )

    def _archive_has_us(self) -> bool:
        control = self.wish.seen(self.wish.primary).control
        archive = self.wish.observed.archive
        return isinstance(archive, Known) and control is not None and control.system_identifier in archive.value.systems

    def _role(self) -> None:
        name = self.wish.primary
        seen = self.wish.seen(name)
        if seen.running is not None:
            if judge(Condition("role_ready", name, REPLICATION_ROLE), self.wish.observed) is True:
                return
        elif not self.builds(name):
            self.look_again = True
            return
        self.add(
            Step(
                f"{name}.role",
                StepKind.CREATE_ROLE,
                name,
                f"create the role {REPLICATION_ROLE}",
                "Standbys stream as it: replication only, no superuser, SCRAM password.",
                Risk.CREATE,
                needs=(f"{name}.start",),
                expects=(Condition("is_primary", name),),
                proves=(Condition("role_ready", name, REPLICATION_ROLE),),
                undo=f"DROP ROLE {REPLICATION_ROLE}",
                names=(REPLICATION_ROLE,),
            )
        )

    def _slot(self, upstream: NodeName, standby: NodeName) -> None:
        """The slot of a standby on its upstream; one that was lost is made anew (the archive has the WAL then)."""
        seen, slot = self.wish.seen(upstream), slot_name(standby)
        if seen.running is not None:
            if judge(Condition("slot_usable", upstream, slot), self.wish.observed) is True:
                return
        elif not self.builds(upstream):
            self.look_again = True
            return
        self.add(
            Step(
                f"{upstream}.slot.{standby}",
                StepKind.CREATE_SLOT,
                upstream,
                f"create the replication slot {slot}",
                f"{upstream} then keeps the WAL that {standby} still needs, up to max_slot_wal_keep_size.",
                Risk.CREATE,
                needs=(f"{upstream}.start", f"{upstream}.files", f"{upstream}.restart"),
                expects=(Condition("answers", upstream),),
                proves=(Condition("slot_usable", upstream, slot),),
                undo=f"SELECT pg_drop_replication_slot('{slot}')",
                names=(slot,),
            )
        )

    def _primary_restart(self) -> None:
        """The primary's restart comes after the standbys': where a setting was raised, they must have it first."""
        wish, name = self.wish, self.wish.primary
        if self.builds(name) or wish.seen(name).running is None:
            return
        drift = drift_of(wish, name, keep_sync=self._sync_later())
        self._restart(name, drift, tuple(f"{other}.restart" for other in wish.topology.names if other != name))
        kept = {key for other in wish.topology.names if other != name for key in kept_above_wish(wish, other)}
        if kept:
            self.look_again = True
            self.notes.append(
                f"The standbys keep the higher {', '.join(sorted(kept))} until {name} has the lower one; they are "
                "restarted after it, in a second round."
            )
            for other in cascade_order(wish)[1:]:
                self._prove(other, "It must replay the lower setting before it may have it itself.")

    # -- standbys ---------------------------------------------------------------------------------------------------

    def _standby(self, name: NodeName) -> None:
        wish = self.wish
        upstream = wish.upstream(name)
        assert upstream is not None
        seen, files = wish.seen(name), desired_files(wish, name)
        if self.builds(name):
            self._base_backup(name, upstream, files)
            self._start(name, "is_standby", (f"{name}.data",))
        else:
            drift = drift_of(wish, name)
            self._change(name, files, drift)
            if seen.running is not None:
                self._restart(name, drift, ())
            if not isinstance(seen.postmaster, Known) or unanswered(seen):
                self._start(name, "is_standby", (f"{name}.files",))
        for below in wish.topology.standbys_of(name, wish.primary):
            self._slot(name, below)
        touched = self.has(f"{name}.start") or self.has(f"{name}.restart") or self._moves(name)
        if touched or not streams(wish, name):
            self._prove(name, f"It must stream from {upstream}, and show a row written on {wish.primary}.")

    def _moves(self, name: NodeName) -> bool:
        """Whether a running standby is told to stream from elsewhere."""
        wanted, in_place = desired_settings(self.wish, name), settings_in_place(self.wish.seen(name))
        return wanted.get("primary_conninfo") != in_place.get("primary_conninfo")

    def _base_backup(self, name: NodeName, upstream: NodeName, files: NodeFiles) -> None:
        primary = self.wish.primary
        self.add(
            Step(
                f"{name}.data",
                StepKind.BASE_BACKUP,
                name,
                f"copy {upstream} to {self.wish.node(name).data_directory}",
                f"{name} has no data yet; a base backup makes it a standby of {upstream}.",
                Risk.CREATE,
                needs=(
                    "host.programs",
                    f"{name}.leftovers",
                    f"{primary}.role",
                    f"{primary}.files",
                    f"{upstream}.start",
                    f"{upstream}.restart",
                    f"{upstream}.slot.{name}",
                    f"{upstream}.proof",
                    f"{primary}.restart",
                ),
                expects=(
                    Condition("data_absent", name),
                    Condition("answers", upstream),
                ),
                proves=(Condition("data_is_ours", name, name),),
                undo=f"remove {self.wish.node(name).data_directory}",
                files=files,
                upstream=upstream,
            )
        )

    def _prove(self, name: NodeName, why: str) -> None:
        wish, upstream = self.wish, self.wish.upstream(name)
        step_id = f"{name}.proof"
        if upstream is None or self.has(step_id):
            return
        self.add(
            Step(
                step_id,
                StepKind.PROVE_REPLICATION,
                name,
                f"prove that {name} streams from {upstream}",
                why,
                Risk.READ,
                needs=(
                    f"{name}.start",
                    f"{name}.restart",
                    f"{name}.files",
                    f"{upstream}.start",
                    f"{upstream}.restart",
                    f"{upstream}.proof",
                    f"{upstream}.slot.{name}",
                    f"{wish.primary}.role",
                    f"{wish.primary}.files",
                    f"{wish.primary}.start",
                    f"{wish.primary}.restart",
                ),
                proves=(Condition("streams_from", name, upstream),),
                upstream=upstream,
            )
        )

    # -- any node ---------------------------------------------------------------------------------------------------

    def _start(self, name: NodeName, role: str, after: tuple[str, ...]) -> None:
        seen = self.wish.seen(name)
        alive = isinstance(seen.postmaster, Known)
        if not self.builds(name):
            self.look_again = True
        self.add(
            Step(
                f"{name}.start",
                StepKind.START,
                name,
                f"wait until {name} answers" if alive else f"start {name} on port {self.wish.node(name).port}",
                "Its server is starting up." if alive else "Its server does not run.",
                Risk.CREATE,
                needs=("host.programs", *after),
                expects=() if alive else (Condition("stopped", name), Condition("port_free", name)),
                proves=(Condition(role, name),),
                undo=f"pg_ctl stop -D {self.wish.node(name).data_directory}",
            )
        )

    def _change(self, name: NodeName, files: NodeFiles, drift: Drift, *, restart_later: bool = False) -> None:
        """Files that differ are written and loaded; settings that ALTER SYSTEM holds are taken back."""
        seen, major = self.wish.seen(name), self.wish.topology.postgresql
        running = seen.running is not None
        if drift.shadowed and running:
            self.add(
                Step(
                    f"{name}.reset",
                    StepKind.RESET_SETTINGS,
                    name,
                    f"ALTER SYSTEM RESET {', '.join(drift.shadowed)}",
                    "postgresql.auto.conf is read last and hides what the topology file says.",
                    Risk.RELOAD,
                    undo="ALTER SYSTEM SET with the old value",
                    names=drift.shadowed,
                )
            )
        wanted = parse_settings(files.text(SETTINGS_FILE))
        differing = list(files_differ(files, seen))
        data = seen.directory
        if files.standby and data is not None and not data.standby_signal:
            differing.append("standby.signal")
        restart = drift.restart_for(major)
        load = running and bool(differing or drift.loaded or drift.shadowed)
        if differing:
            self.add(
                Step(
                    f"{name}.files",
                    StepKind.WRITE_FILES,
                    name,
                    _what_is_written(differing, drift.written, settings_in_place(seen), files)
                    + (" and reload" if load else ""),
                    "They differ from what the topology file says.",
                    Risk.RELOAD,
                    needs=("host.account", f"{name}.reset"),
                    expects=(Condition("data_is_ours", name, name),),
                    proves=self._loaded(name, wanted, (*drift.written, *drift.loaded)) if running else (),
                    undo="change the topology file back and apply",
                    files=files,
                )
            )
        elif load and not (restart and not drift.shadowed):
            self.add(
                Step(
                    f"{name}.files",
                    StepKind.RELOAD,
                    name,
                    f"reload {name}",
                    f"It has not read {', '.join(drift.loaded or drift.shadowed)} yet.",
                    Risk.RELOAD,
                    needs=(f"{name}.reset",),
                    proves=self._loaded(name, wanted, (*drift.loaded, *drift.shadowed)),
                )
            )
        if not restart_later and running and not restart and "primary_conninfo" in drift.written:
            self.look_again = True

    def _loaded(self, name: NodeName, wanted: dict[str, str], keys: tuple[str, ...]) -> tuple[Condition, ...]:
        """That a running server has taken these settings over: a reload takes effect a moment later."""
        major, conditions = self.wish.topology.postgresql, []
        for key in keys:
            spec = setting_spec(major, key)
            if key in wanted and spec is not None and not spec.needs_restart and key not in RESPELLED:
                conditions.append(Condition("setting_is", name, f"{key}={canonical(spec, wanted[key])}"))
        return tuple(conditions)

    def _restart(self, name: NodeName, drift: Drift, after: tuple[str, ...]) -> None:
        restart = drift.restart_for(self.wish.topology.postgresql)
        if not restart:
            return
        role = "is_primary" if name == self.wish.primary else "is_standby"
        self.add(
            Step(
                f"{name}.restart",
                StepKind.RESTART,
                name,
                f"restart {name}",
                f"{', '.join(restart)} take{'s' if len(restart) == 1 else ''} effect at a start only.",
                Risk.RESTART,
                needs=(f"{name}.files", f"{name}.reset", *after),
                proves=(Condition(role, name), Condition("nothing_pending", name)),
                undo="change the topology file back and apply",
            )
        )

    # -- the end ----------------------------------------------------------------------------------------------------

    def _check_archive(self) -> None:
        wish, name = self.wish, self.wish.primary
        if wish.topology.archive is None:
            return
        server = wish.seen(name).running
        archiver = server.archiver if server else None
        fresh = self.builds(name) or self.has("archive.folder")
        changed = "archive_command" in drift_of(wish, name, keep_sync=True).written and not self.builds(name)
        idle = archiver is not None and archiver.archived_count == 0
        failing = archiver is not None and archiver.failing
        if not (fresh or changed or failing or idle):
            return
        self.add(
            Step(
                "archive.check",
                StepKind.CHECK_ARCHIVE,
                name,
                "finish one WAL segment and see it in the archive",
                "The last attempt to archive failed." if failing else "An archive that was never written to is a hope.",
                Risk.READ,
                needs=(
                    "archive.folder",
                    f"{name}.start",
                    f"{name}.files",
                    f"{name}.restart",
                    *(f"{other}.data" for other in wish.topology.names),
                ),
                expects=(Condition("is_primary", name),),
            )
        )

    def _sync_last(self) -> None:
        wish, name = self.wish, self.wish.primary
        if not self._sync_later():
            return
        files = desired_files(wish, name)
        if files == desired_files(wish, name, keep_sync=True):
            return
        names = files.text(SETTINGS_FILE)
        sync = [line for line in names.splitlines() if line.startswith("synchronous_")]
        self.add(
            Step(
                f"{name}.sync",
                StepKind.WRITE_FILES,
                name,
                "let commits wait for standbys: " + "; ".join(sync),
                "Only now: before, a commit would have waited for standbys that were not there.",
                Risk.RELOAD,
                needs=(
                    *(f"{other}.proof" for other in wish.sync_candidates(name)),
                    f"{name}.restart",
                    f"{name}.files",
                    f"{name}.start",
                    f"{name}.role",
                    "archive.check",
                ),
                expects=(Condition("is_primary", name),),
                proves=self._loaded(name, parse_settings(names), ("synchronous_commit", "synchronous_standby_names")),
                undo='write synchronous = "none" and apply',
                files=files,
            )
        )

    def _needless_slots(self) -> None:
        """Slots of pgtandem that nobody of the topology uses: they would hold WAL for ever."""
        wish = self.wish
        for name in wish.topology.names:
            server = wish.seen(name).running
            if server is None:
                continue
            wanted = wish.slots_of(name)
            for slot in server.slots.values():
                if not slot.name.startswith(SLOT_PREFIX) or slot.kind != "physical" or slot.name in wanted:
                    continue
                owner = next((other for other in wish.topology.names if slot_name(other) == slot.name), None)
                self.add(
                    Step(
                        f"{name}.drop.{slot.name}",
                        StepKind.DROP_SLOT,
                        name,
                        f"drop the replication slot {slot.name}",
                        "No node of the topology file streams through it; it would hold WAL for ever.",
                        Risk.RELOAD,
                        needs=(
                            *((f"{owner}.proof",) if owner else ()),
                            *(f"{former.name}.stop" for former in wish.observed.former),
                            f"{name}.files",
                            f"{name}.restart",
                        ),
                        expects=(Condition("answers", name),),
                        proves=(Condition("slot_gone", name, slot.name),),
                        names=(slot.name,),
                    )
                )

    def _former(self) -> None:
        """Nodes that pgtandem built and the topology file no longer has: stopped, their data left where it is."""
        for former in self.wish.observed.former:
            if isinstance(former.observed.postmaster, Known):
                self.steps.insert(
                    0,
                    Step(
                        f"{former.name}.stop",
                        StepKind.STOP,
                        former.name,
                        f"stop {former.name}",
                        "The topology file no longer has it.",
                        Risk.STOP,
                        proves=(Condition("stopped", former.name),),
                        undo=f"put [nodes.{former.name}] back and apply",
                        programs=self.programs(self.wish.primary),
                    ),
                )
            left = isinstance(former.observed.data, Known)
            self.steps.append(
                Step(
                    f"{former.name}.forget",
                    StepKind.FORGET_NODE,
                    former.name,
                    f"forget {former.name}",
                    f"Its data stays in {former.data_directory}." if left else "Its data directory is gone.",
                    Risk.CREATE,
                    needs=(f"{former.name}.stop",),
                )
            )


def _what_is_written(differing: list[str], settings: tuple[str, ...], before: dict[str, str], files: NodeFiles) -> str:
    """ "set work_mem, port; write pg_hba.conf" """
    parts = []
    if settings and before:
        parts.append("set " + ", ".join(settings))
    others = [path for path in differing if not (path == SETTINGS_FILE and parts)]
    if others:
        parts.append("write " + ", ".join(others))
    return "; ".join(parts)
