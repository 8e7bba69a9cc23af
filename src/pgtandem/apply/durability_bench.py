"""pgbench under each level of synchronous_commit, in a scratch database on the primary.

Nothing of the cluster changes: the level is a setting of pgbench's own sessions. The database carries its mark; it
goes when the run ends, however it ends, and what a run left that was killed goes first of all in the next one.
"""

import asyncio
import posixpath
from collections.abc import Callable, Mapping, Sequence

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.names import SUPERUSER, NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Durability, Node, Topology
from pgtandem.model.value import dataclass
from pgtandem.plan.durability_levels import Level, durability_levels
from pgtandem.ports import SUPERUSER_SECRET, CommandTimeout, Completed, Host, World
from pgtandem.postgres import pgbench
from pgtandem.postgres.pgbench import BenchRun

_MAKING_SECONDS = 600
#: A run that is late by more waits for standbys that went away.
_LATE_SECONDS = 20
#: What pgbench makes per unit of its scale.
SCALE_BYTES = 16_000_000
_LEAST_FREE_BYTES = 2_000_000_000

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How long each level runs in all (seconds), by how many clients, and pgbench's scale."""

    seconds: int
    clients: int
    scale: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A level with its run, None where it was not run; `why` then says why."""

    level: Level
    run: BenchRun | None
    why: str = ""


class DurabilityBench:
    """For the primary of a cluster that was looked at. Raises PgtandemError PT-3061 where it cannot be measured."""

    def __init__(self, topology: Topology, world: World, observed: Observed) -> None:
        primaries = observed.primaries()
        if len(primaries) != 1:
            raise _refused(
                "the cluster has no single primary", f"There are {len(primaries)} that take writes.", "pgtandem status"
            )
        self.primary: NodeName = primaries[0]
        seen = observed.nodes[self.primary]
        server, programs = seen.running, seen.programs
        assert server is not None
        if not isinstance(programs, Known):
            raise _refused(f"there are no PostgreSQL programs on the host of {self.primary}", "", "pgtandem plan")
        if isinstance(seen.disk, Known) and seen.disk.value.free_bytes < _LEAST_FREE_BYTES:
            free = seen.disk.value.free_bytes / 1e9
            raise _refused(
                f"the disk of {self.primary} has {free:.1f} GB free", "WAL and tables of the benchmark need 2 GB."
            )
        self.levels = durability_levels(server)
        self.configured = topology.replication.durability
        self._node: Node = topology.node(self.primary)
        self._port = seen.postmaster.value.port if isinstance(seen.postmaster, Known) else self._node.port
        self._host: Host = world.host(self._node.host)
        self._programs = programs.value.directory
        self._password = world.workspace.secret(SUPERUSER_SECRET)

    async def check(self) -> str:
        """Whether the programs are there, and what lies in the way: "ours" for a leftover that will be dropped, or "".
        Raises PT-3061."""
        for program in ("pgbench", "psql"):
            path = posixpath.join(self._programs, program)
            if not await self._host.can_execute(path):
                raise _refused(
                    f"there is no {program} on the host of {self.primary}",
                    f"It was looked for as {path}.",
                    "install the client programs of this major version there",
                )
        found = await self._looked()
        if found == "foreign":
            raise _refused(
                f"{self.primary} has a database {pgbench.SCRATCH} that pgtandem did not make",
                "It lacks the comment that pgtandem gives to its own.",
                "rename that database",
            )
        return found

    async def run(self, wishes: Wishes, tell: Tell) -> tuple[Measured, ...]:
        """All levels. The database is gone afterwards, also where this is cancelled."""
        if await self.check():
            tell(f"removing the database {pgbench.SCRATCH} of an earlier run")
            await self._drop()
        try:
            tell(f"making the database {pgbench.SCRATCH} on {self.primary}")
            self._require(await self._psql(pgbench.CREATE), "make the scratch database")
            filled = ["-i", "-q", "-s", str(wishes.scale)]
            self._require(
                await self._pgbench(filled, pgbench.MAKING_OPTIONS, _MAKING_SECONDS), "fill the scratch database"
            )
            return await self._all(wishes, tell)
        finally:
            await self._finish(tell)

    async def _finish(self, tell: Tell) -> None:
        """Not to be stopped by a second Ctrl-C half way."""
        tell(f"removing the database {pgbench.SCRATCH}")
        task = asyncio.ensure_future(self._drop())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    async def _all(self, wishes: Wishes, tell: Tell) -> tuple[Measured, ...]:
        """Each level twice, the second time in the opposite order: what grows or warms up meanwhile favours none."""
        tried = [level for level in self.levels if level.same_as is None and not level.never]
        runs: dict[Durability, list[BenchRun]] = {level.durability: [] for level in tried}
        failed: dict[Durability, str] = {}
        rounds: Sequence[Sequence[Level]] = (tried, tried[::-1]) if wishes.seconds > 1 else (tried,)
        each = max(wishes.seconds // len(rounds), 1)
        for number, order in enumerate(rounds, 1):
            for level in order:
                if level.durability in failed:
                    continue
                tell(f"{level.durability.value}, {number} of {len(rounds)}: {each} s with {wishes.clients} clients")
                try:
                    runs[level.durability].append(await self._one(level.durability, wishes, each))
                except CommandTimeout:
                    failed[level.durability] = "commits did not end: standbys that must confirm went away"
        return tuple(self._measured(level, runs, failed) for level in self.levels)

    def _measured(
        self, level: Level, runs: Mapping[Durability, Sequence[BenchRun]], failed: Mapping[Durability, str]
    ) -> Measured:
        if level.same_as is not None:
            return Measured(level, None, f"the same as {level.same_as.value}: no standby has to confirm a commit")
        if level.never:
            return Measured(level, None, level.never)
        if level.durability in failed:
            return Measured(level, None, failed[level.durability])
        return Measured(level, _together(runs[level.durability]))

    async def _one(self, durability: Durability, wishes: Wishes, seconds: int) -> BenchRun:
        arguments = [
            *("-n", "-N", "-T", str(seconds), "-c", str(wishes.clients)),
            *("-j", str(min(wishes.clients, 4)), "-P", str(max(seconds, 1))),
        ]
        done = await self._pgbench(
            arguments, f"-c synchronous_commit={durability.value} -c statement_timeout=0", seconds + _LATE_SECONDS
        )
        run = pgbench.parse_run(done.text)
        if run is None or done.exit_code:
            self._require(done, f"run pgbench under {durability.value}")
            raise _refused(f"pgbench on {self.primary} said nothing that can be read", done.complaint)
        return run

    # --- programs

    async def _looked(self) -> str:
        done = await self._psql(pgbench.LOOK)
        self._require(done, "look at the databases")
        return done.text.strip()

    async def _drop(self) -> None:
        self._require(await self._psql(pgbench.DROP), "remove the scratch database")

    async def _psql(self, script: str) -> Completed:
        return await self._host.run(
            [posixpath.join(self._programs, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            stdin=script.encode(),
            deadline_seconds=_MAKING_SECONDS,
            environment=self._environment("postgres", pgbench.MAKING_OPTIONS),
        )

    async def _pgbench(self, arguments: Sequence[str], options: str, seconds: float) -> Completed:
        return await self._host.run(
            [posixpath.join(self._programs, "pgbench"), *arguments],
            deadline_seconds=seconds,
            environment=self._environment(pgbench.SCRATCH, options),
        )

    def _environment(self, database: str, options: str) -> dict[str, str]:
        """How the programs connect, from the primary's own host: the password is on no command line."""
        return {
            "PGHOST": self._node.address if self._node.host.is_local else "127.0.0.1",
            "PGPORT": str(self._port),
            "PGUSER": SUPERUSER,
            "PGDATABASE": database,
            "PGOPTIONS": options,
            "PGCONNECT_TIMEOUT": "10",
            **({"PGPASSWORD": self._password.reveal()} if self._password else {}),
        }

    def _require(self, done: Completed, what: str) -> None:
        if done.exit_code:
            raise PgtandemError(
                "PT-4001", f"could not {what} on {self.primary}", why=done.complaint, next_step="pgtandem status"
            )


def _together(runs: Sequence[BenchRun]) -> BenchRun:
    """Several runs of the same length as one."""
    count = sum(run.transactions for run in runs)
    weights = [run.transactions / count if count else 1 / len(runs) for run in runs]
    spreads = [run.latency_stddev_ms for run in runs]
    known = [spread for spread in spreads if spread is not None]
    return BenchRun(
        transactions=count,
        tps=sum(run.tps for run in runs) / len(runs),
        latency_ms=sum(run.latency_ms * weight for run, weight in zip(runs, weights, strict=True)),
        latency_stddev_ms=sum(known) / len(known) if len(known) == len(runs) else None,
    )


def _refused(what: str, why: str, next_step: str = "") -> PgtandemError:
    return PgtandemError("PT-3061", what, why=why, next_step=next_step)
