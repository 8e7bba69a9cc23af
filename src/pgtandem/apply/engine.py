"""Plan, approve, do, prove, plan again: until a fresh plan is empty.

Under the cluster's lock. Steps that do not need each other run side by side. Every step is written to the journal
before and after; a run that was cut off needs no repair, since the next one starts from what it sees.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from pgtandem.apply.context import Context
from pgtandem.apply.effects import effect_of
from pgtandem.apply.holding import GivesWay, Way, hold
from pgtandem.apply.reading import said_to_be_read
from pgtandem.apply.report import Report
from pgtandem.errors import Family, PgtandemError
from pgtandem.model.facts import Unknown
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, Plan, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.observe.parts import parts_read_by
from pgtandem.plan.conditions import BACKUPS, POOLING, judge
from pgtandem.ports import LockHolder, World

#: A question to the planner.
Question = Callable[[Topology, Observed], Plan]

#: Shows a plan and decides: True to go on. Told whether anything was approved before, and up to which risk.
Approve = Callable[[Plan, Risk | None], Awaitable[bool]]

#: Told who holds the lock and gives way; True to have his work ended.
Overtake = Callable[[LockHolder], Awaitable[bool]]

_MOST_ROUNDS = 6
_PROOF_SECONDS = 60.0
_EXPECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: the last look, the plan that is left (empty when done), and how many steps were done.

    `declined` says that somebody said no.
    """

    observed: Observed
    plan: Plan
    steps_done: int = 0
    declined: bool = False


async def carry_out(
    topology: Topology,
    world: World,
    question: Question,
    approve: Approve,
    report: Report,
    command: str,
    *,
    asks: bool = True,
    urgent: bool = False,
    gives: GivesWay = GivesWay.NEVER,
    overtake: Overtake | None = None,
) -> Outcome:
    """Makes the answer to `question` empty. Raises PgtandemError: refused plans, failed steps, PT-6001 at the end.

    `asks` says whether `approve` asks a person, who takes time: then the cluster is looked at again afterwards. Nobody
    else's pgtandem changes it meanwhile, since the lock is held from before the first look. `urgent` says that writes
    wait: nothing is looked at that decides nothing. `gives` says when a role change may end this; `overtake` is the
    role change's: whether to end another one's work. It is asked only where there is something to do.
    """

    async def goes_first(holder: LockHolder) -> None:
        # What is urgent decides nothing by the paths between hosts; anything else is refused where they are not known.
        observed = await Observer(topology, world, try_paths=not urgent, urgent=urgent).cluster()
        plan = question(topology, observed)
        if plan.empty or overtake is None:
            raise _Ahead(Outcome(observed, plan))
        if not await overtake(holder):
            raise _Ahead(Outcome(observed, plan, declined=True))

    async def work(way: Way) -> Outcome:
        try:
            outcome = await _rounds(topology, world, question, approve, report, command, asks, urgent, way)
        except PgtandemError as refusal:
            if refusal.code.family is Family.PLAN:
                # The journal tells of it as well; what it could not take must not hide the refusal itself.
                with suppress(PgtandemError):
                    _record(
                        world,
                        "refused",
                        command=command,
                        who=world.workspace.login(),
                        code=refusal.code.text,
                        what=refusal.what,
                        why=refusal.why,
                        problems=[f"{problem.what}. {problem.why}".strip() for problem in refusal.problems],
                    )
            raise
        if outcome.declined:
            _record(world, "declined", command=command, who=world.workspace.login())
        return outcome

    try:
        return await hold(world, command, work, gives=gives, overtake=goes_first if overtake else None)
    except _Ahead as ahead:
        return ahead.outcome


class _Ahead(Exception):
    """What came of it before the lock was taken: there is nothing to do, or somebody said no."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


async def _rounds(
    topology: Topology,
    world: World,
    question: Question,
    approve: Approve,
    report: Report,
    command: str,
    asks: bool,
    urgent: bool,
    way: Way,
) -> Outcome:
    observer = Observer(topology, world, try_paths=True, urgent=urgent)
    context = Context(topology, world, observer, report)
    observed = await observer.cluster()
    plan = question(topology, observed)
    approved: Risk | None = None
    done = 0
    for number in range(1, _MOST_ROUNDS + 1):
        if plan.empty:
            return Outcome(observed, plan, done)
        if approved is None or _above(plan.highest_risk, approved):
            way.set(asks and not done)  # as long as somebody thinks about it, nothing is under way
            agreed = await approve(plan, approved)
            way.set(False)
            if not agreed:
                return Outcome(observed, plan, done, declined=True)
            if asks:
                plan = await _still_the_same(topology, observer, question, plan)
            approved = plan.highest_risk
        report.round_started(plan, number)
        async with said_to_be_read(context, plan, command):
            await _Run(context, plan, command, way).all()
        observer.remember_versions()
        done += len(plan.steps)
        observed, before = await observer.cluster(), plan
        try:
            plan = question(topology, observed)
        except PgtandemError as refusal:
            if before.primary is None and refusal.code.family is Family.PLAN:
                raise _left(done, refusal) from None
            raise
        if plan.steps == before.steps:
            break
    if plan.empty:
        return Outcome(observed, plan, done)
    raise PgtandemError(
        "PT-6001",
        f"after {done} steps the cluster is still not what the topology file says",
        why="Still to do: " + "; ".join(f"{step.node}: {step.what}" for step in plan.steps[:5]) + ".",
        next_step="pgtandem plan",
    )


def _left(done: int, refusal: PgtandemError) -> PgtandemError:
    """Why no more was done than what needs no primary. A refusal of the planner itself says that nothing changed."""
    return PgtandemError(
        "PT-6001",
        f"after {done} step{'' if done == 1 else 's'} the cluster is still not what the topology file says",
        why=f"{refusal.what[:1].upper()}{refusal.what[1:]}. {refusal.why}".strip(),
        next_step=refusal.next_step,
        problems=refusal.problems,
    )


def _record(world: World, event: str, **entry: object) -> None:
    """One entry of the journal, which `apply/history.py` reads."""
    world.workspace.record({"at": round(world.clock.now(), 3), "event": event, **entry})


def _above(risk: Risk, approved: Risk) -> bool:
    order = list(Risk)
    return order.index(risk) > order.index(approved)


async def _still_the_same(topology: Topology, observer: Observer, question: Question, shown: Plan) -> Plan:
    """While somebody thought about a plan, the cluster may have changed: what was approved is what is done."""
    fresh = question(topology, await observer.cluster())
    if fresh.steps != shown.steps:
        now = "; ".join(f"{step.node}: {step.what}" for step in fresh.steps[:5]) or "nothing to do"
        raise PgtandemError(
            "PT-3011",
            "the cluster changed after the plan was shown",
            why=f"The plan would now be: {now}.",
            next_step="run the same command again and look at the new plan",
        )
    return fresh


class _Run:
    """One plan under way."""

    def __init__(self, context: Context, plan: Plan, command: str, way: Way) -> None:
        self.context = context
        self.way = way
        self.plan = plan
        self.command = command
        self.clock = context.world.clock
        self.paused_at: float | None = None
        # All of them now: nothing of what is to be done may turn out to be missing half way.
        self.effects = {step.kind: effect_of(step.kind) for step in plan.steps}

    async def all(self) -> None:
        """Starts every step as soon as what it needs is done; the first failure lets the others under way finish.

        The failure of a `lone` step is told when all the others are done: what needs it is left out.
        """
        self._record(
            "plan",
            command=self.command,
            who=self.context.world.workspace.login(),
            steps=[f"{step.id}: {step.what}" for step in self.plan.steps],
        )
        waiting = list(self.plan.steps)
        done: set[str] = set()
        left_out: set[str] = set()  # what failed alone, and what needs that
        under_way: dict[asyncio.Task[None], Step] = {}
        failure: PgtandemError | None = None
        lone_failure: PgtandemError | None = None
        try:
            while waiting or under_way:
                for step in waiting:
                    if not left_out.isdisjoint(step.needs):
                        left_out.add(step.id)
                waiting = [step for step in waiting if step.id not in left_out]
                over = done | left_out
                free = [step for step in waiting if done.issuperset(step.needs) and over.issuperset(step.after)]
                ready = [] if failure else free
                for step in ready:
                    waiting.remove(step)
                    under_way[asyncio.create_task(self._step(step))] = step
                if not under_way:
                    break
                copying = all(step.kind is StepKind.BASE_BACKUP for step in under_way.values())
                self.way.set(copying and self.way.gives is GivesWay.WHILE_COPYING)
                ended, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    step = under_way.pop(task)
                    error = task.exception()
                    if error is None:
                        done.add(step.id)
                    elif isinstance(error, PgtandemError) and step.lone:
                        left_out.add(step.id)
                        lone_failure = lone_failure or error
                    elif isinstance(error, PgtandemError):
                        failure = failure or error
                    else:
                        raise error
        except asyncio.CancelledError:
            self._record("interrupted", steps=[step.id for step in under_way.values()])
            raise
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        failure = failure or lone_failure
        if failure:
            self._record("plan failed", code=failure.code.text, what=failure.what)
            raise failure
        self._record("plan done")

    async def _step(self, step: Step) -> None:
        context, began = self.context, self.clock.monotonic()
        try:
            async with asyncio.timeout(self._seconds_left(step)) as limit:
                await self._expect(step)
                context.report.step_started(step)
                self._record("step", step=step.id, kind=step.kind.value, node=step.node, what=step.what)
                remark = await self.effects[step.kind](context, step)
                await self._prove(step)
        except (PgtandemError, TimeoutError) as failure:
            if not isinstance(failure, PgtandemError) and not limit.expired():
                raise
            error = failure if isinstance(failure, PgtandemError) else _too_long(step)
            self._record("step failed", step=step.id, code=error.code.text, what=error.what, why=error.why)
            context.report.step_failed(step, error)
            raise error from None
        seconds = self.clock.monotonic() - began
        self._record("step done", step=step.id, seconds=round(seconds, 3), remark=remark)
        context.report.step_done(step, seconds, remark)

    def _seconds_left(self, step: Step) -> float | None:
        """Clients wait from the plan's first PAUSE on; None where nobody waits for this step."""
        if not step.within_seconds:
            return None
        if step.kind is StepKind.PAUSE and self.paused_at is None:
            self.paused_at = self.clock.monotonic()
        if self.paused_at is None:
            return None
        return max(self.paused_at + step.within_seconds - self.clock.monotonic(), 0.0)

    async def _expect(self, step: Step) -> None:
        """What must hold before: if it does not, somebody else changed the cluster meanwhile."""
        missing = await self._missing(step.expects, _EXPECT_SECONDS)
        if missing:
            raise PgtandemError(
                "PT-4002",
                f"could not {step.what}",
                why="It needs what does not hold: " + "; ".join(missing) + ".",
                next_step="run the same command again: it looks at the cluster anew",
            )

    async def _prove(self, step: Step) -> None:
        missing = await self._missing(step.proves, _PROOF_SECONDS)
        if missing:
            raise PgtandemError(
                "PT-4003",
                f"could not prove: {step.what}",
                why="It should hold now and does not: " + "; ".join(missing) + ".",
                next_step="run the same command again: it looks at the cluster anew",
            )

    async def _missing(self, conditions: tuple[Condition, ...], seconds: float) -> list[str]:
        """The conditions that do not come true in time, in words."""
        if not conditions:
            return []
        missing: list[str] = []

        async def test() -> bool | None:
            nonlocal missing
            observed = await self.context.observer.nodes(parts_read_by(conditions))
            if any(condition.kind == "archive_ready" for condition in conditions):
                observed = Observed(observed.nodes, await self.context.observer.archive(), observed.former)
            if any(condition.kind == "wal_way_open" for condition in conditions):
                observed = replace(observed, ways=await self.context.observer.ways())
            if any(condition.kind in BACKUPS for condition in conditions):
                observed = replace(observed, backups=await self.context.observer.backups())
            if any(condition.kind in POOLING for condition in conditions):
                observed = replace(observed, pgbouncers=await self.context.observer.pgbouncers())
            missing = [
                _in_words(condition, observed) for condition in conditions if judge(condition, observed) is not True
            ]
            return None if missing else True

        await self.context.wait(test, seconds)
        return missing

    def _record(self, event: str, **entry: object) -> None:
        _record(self.context.world, event, **entry)


def _too_long(step: Step) -> PgtandemError:
    why = "Transactions went on, or a client kept its session." if step.kind is StepKind.PAUSE else ""
    return PgtandemError(
        "PT-4062",
        f"clients would have waited for more than {step.within_seconds:g} s: could not {step.what} in time",
        why=why or "What is paused must not wait without end.",
        next_step="see what took so long (pg_stat_activity, pgtandem status), or allow more: --max-pause-seconds",
    )


def _in_words(condition: Condition, observed: Observed) -> str:
    verdict = judge(condition, observed)
    return f"{condition} ({verdict.reason})" if isinstance(verdict, Unknown) else str(condition)
