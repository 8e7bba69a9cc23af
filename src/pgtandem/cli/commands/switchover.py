"""pgtandem switchover: another node becomes the primary, and nothing is lost."""

import argparse
import asyncio
import math
import sys
import time
from dataclasses import replace

from pgtandem.apply.engine import Outcome, Question
from pgtandem.cli.changing import change, consent, write_client_passfile
from pgtandem.cli.invocation import spelled
from pgtandem.cli.moments import moment_in_words, read_moment
from pgtandem.cli.named import named_node
from pgtandem.cli.waiting import wait_until
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.errors import Family, PgtandemError
from pgtandem.model.facts import Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.plan.candidates import Limits
from pgtandem.plan.converge import plan_converge
from pgtandem.plan.pgbouncers import paused_databases
from pgtandem.plan.roles import decide_primary, promised_primaries
from pgtandem.plan.switchover import choose_successor, is_under_way, plan_switchover
from pgtandem.ports import World

#: So long a standby may take to replay what was on its way at the first look.
_SETTLES_SECONDS = 5.0
_PAUSE_SECONDS = 0.3


def run(options: argparse.Namespace) -> int:
    """0 when the node is the primary, 2 when somebody said no."""
    path = topology_path(options)
    topology = read_topology(path)
    moment = None if options.at is None else read_moment(options.at, time.time())
    to = named_node(topology, options.to)
    default = Limits()
    limits = Limits(
        default.lag_bytes if options.max_lag_bytes is None else options.max_lag_bytes,
        default.lag_seconds if options.max_lag_seconds is None else options.max_lag_seconds,
        default.pause_seconds if options.max_pause_seconds is None else options.max_pause_seconds,
    )
    yes = options.yes
    if moment is not None:
        to = in_world(path, topology, lambda world: _look_ahead(topology, world, to, limits, moment, options), options)
        if to is None:
            return 2
        wait_until(moment, f"switchover of cluster {topology.cluster} to {to}", sys.stdout)
        if read_topology(path) != topology:
            raise PgtandemError(
                "PT-3011",
                "the topology file was changed while this waited",
                why="What was agreed to was about the file as it was before.",
                next_step="run the command again",
            )
        yes = True
    question = _question(to, limits)

    async def work(world: World) -> Outcome:
        try:
            outcome = await _once_it_has_settled(topology, world, question, yes)
        except PgtandemError as failure:
            if failure.code.family not in (Family.APPLY, Family.OBSERVE):
                raise
            raise await _after_failure(topology, world, failure) from failure
        except asyncio.CancelledError:
            # Ctrl-C: nobody may be left waiting for a command that has ended.
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            ended = PgtandemError("PT-4009", "the switchover was ended")
            raise await _after_failure(topology, world, ended) from None
        if not outcome.declined:
            write_client_passfile(topology, world)
        return outcome

    outcome = in_world(path, topology, work, options)
    if outcome.declined:
        return 2
    primary = outcome.plan.primary
    if outcome.steps_done:
        print(f"switched over: {primary} is the primary of cluster {topology.cluster}")
        print(spelled("next:  pgtandem status", path))
    else:
        print(f"{primary} is the primary of cluster {topology.cluster} already; nothing to do")
    return 0


async def _look_ahead(
    topology: Topology, world: World, to: NodeName | None, limits: Limits, moment: float, options: argparse.Namespace
) -> NodeName | None:
    """What `--at` begins with: the preflight, and the user's consent. The lock is free meanwhile and afterwards.

    Returns the node that is to be the primary, None where somebody said no. Raises PgtandemError as the switchover
    itself would.
    """
    observed = await Observer(topology, world, try_paths=True).cluster()
    chosen = choose_successor(topology, observed, limits) if to is None else to
    plan = plan_switchover(topology, observed, chosen, limits)
    if observed.primaries() == (chosen,):
        raise PgtandemError(
            "PT-3042",
            f"{chosen} is the primary of cluster {topology.cluster} already",
            why="There would be nothing to switch over at that time.",
            next_step="name another node with --to",
        )
    print(f"At {moment_in_words(moment)}, after another look:")
    return chosen if consent(plan, topology, yes=options.yes, command="switchover") else None


class _Late(PgtandemError):
    """A refusal that may be none a moment later: a standby had not replayed the last few records yet."""


async def _once_it_has_settled(topology: Topology, world: World, question: Question, yes: bool) -> Outcome:
    """The switchover. What stands in its way for a moment alone is looked at again before it is refused."""
    gives_up = world.clock.monotonic() + _SETTLES_SECONDS
    while True:
        try:
            return await change(topology, world, question, yes=yes, command="switchover", goes_first=True)
        except _Late:
            if world.clock.monotonic() >= gives_up:
                raise
            await world.clock.sleep(_PAUSE_SECONDS)


def _question(to: NodeName | None, limits: Limits) -> Question:
    """The question, about the same node in every round: the best one of the first look where nobody named one. Raises
    _Late where only the time that a standby is said to be late stands in the way: on a quiet cluster the primary takes
    up to wal_receiver_status_interval (10 s) for that, and a record that comes in at the moment of the look makes it
    count, although it is replayed at once."""
    chosen = to

    def answer(topology: Topology, observed: Observed, limits: Limits) -> tuple[NodeName, Plan]:
        successor = chosen or choose_successor(topology, observed, limits)
        return successor, plan_switchover(topology, observed, successor, limits)

    def question(topology: Topology, observed: Observed) -> Plan:
        nonlocal chosen
        try:
            chosen, plan = answer(topology, observed, limits)
        except PgtandemError as refusal:
            try:
                answer(topology, observed, replace(limits, lag_seconds=math.inf))
            except PgtandemError:
                raise refusal from None
            raise _Late(
                refusal.code.text,
                refusal.what,
                why=refusal.why,
                next_step=refusal.next_step,
                problems=refusal.problems,
            ) from None
        return plan

    return question


async def _after_failure(topology: Topology, world: World, failure: PgtandemError) -> PgtandemError:
    """Where nobody was promoted yet, the old primary goes on at once: writes wait for that, and so do the clients of a
    PgBouncer. Returns the failure, with what became of it."""
    try:
        observed = await Observer(topology, world).cluster()
        waiting = bool(paused_databases(topology, observed))
        running = observed.primaries()
        under_way = any(is_under_way(observed, name) for name in running)
        if not waiting and not under_way and (running or promised_primaries(observed)):
            return failure
        primary = decide_primary(topology, observed)
        await change(topology, world, plan_converge, yes=True, command="apply")
    except PgtandemError:
        return failure
    then = " Clients that waited go on." if waiting else ""
    for name, seen in observed.pgbouncers.items():
        if isinstance(seen.console, Unknown):
            # It may read the PAUSE later than it was sent.
            then += f" PgBouncer {name} cannot be asked: where its clients wait, pgtandem apply lets them go on."
    return PgtandemError(
        failure.code.text,
        failure.what,
        why=f"{failure.why}\n{primary} goes on as the primary.{then}".strip(),
        next_step=failure.next_step,
        problems=failure.problems,
    )
