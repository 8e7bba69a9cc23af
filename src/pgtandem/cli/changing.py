"""What the commands that change something have in common: show the plan, ask, carry it out, tell."""

import sys
from collections.abc import Callable

from pgtandem.apply.engine import Outcome, Question, carry_out
from pgtandem.apply.holding import GivesWay, gave_way
from pgtandem.cli.invocation import as_typed
from pgtandem.cli.narrate import Narrator
from pgtandem.cli.show_plan import plan_lines
from pgtandem.cli.terminal import Paint, ask, can_ask, width
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.names import SUPERUSER
from pgtandem.model.plan import Plan, Risk
from pgtandem.model.topology import Topology
from pgtandem.observe.tls import observe_authority
from pgtandem.ports import SUPERUSER_SECRET, LockHolder, World
from pgtandem.postgres.conninfo import render_passfile


async def change(
    topology: Topology,
    world: World,
    question: Question,
    *,
    yes: bool,
    command: str,
    urgent: bool = False,
    gives: GivesWay = GivesWay.NEVER,
    goes_first: bool = False,
) -> Outcome:
    """Carries the answer to a question out, with the user's consent. Raises PgtandemError.

    `gives` and `goes_first` say who ends whose work where two want the lock (apply/holding.py).
    """
    narrator = Narrator()

    def wanted() -> PgtandemError | None:
        who = world.workspace.lock_wanted_by()
        return gave_way(command, who) if who else None

    async def approve(plan: Plan, approved: Risk | None) -> bool:
        narrator.finish()
        if approved is not None:
            paint = Paint(sys.stdout)
            print(paint.yellow("The cluster was looked at again, and what is left needs more than was agreed to:"))
        first = approved is None
        return consent(plan, topology, yes=yes, command=command, before=first, wanted=wanted if first else None)

    async def overtake(holder: LockHolder) -> bool:
        who = f'"{holder.command}" by {holder.account} on host {holder.machine} (process {holder.pid})'
        print(f"{who} holds the lock.\nIt can be ended, and run again afterwards.", flush=True)
        if yes:
            print(f'Ending "{holder.command}": a {command} goes first.', flush=True)
            return True
        return _agreed(f'End "{holder.command}", and go on?', command, "nothing was changed")

    try:
        outcome = await carry_out(
            *(topology, world, question, approve, narrator, command),
            asks=not yes,
            urgent=urgent,
            gives=gives,
            overtake=overtake if goes_first else None,
        )
    finally:
        narrator.finish()
    if outcome.declined:
        print("Nothing was changed." if not outcome.steps_done else "Nothing more was changed.")
    return outcome


def consent(
    plan: Plan,
    topology: Topology,
    *,
    yes: bool,
    command: str,
    before: bool = True,
    wanted: Callable[[], PgtandemError | None] | None = None,
) -> bool:
    """Shows a plan and asks. `before` says that nothing was done yet. Raises PgtandemError PT-1007, PT-4009, and what
    `wanted` has to say while the question stands there."""
    columns = min(width(sys.stdout), 100)
    print("\n".join(plan_lines(plan, topology.cluster, Paint(sys.stdout), columns, reasons=False)), flush=True)
    if yes:
        return True
    unchanged = "nothing was changed" if before else "what was done so far stays"
    return _agreed(_question(plan, topology.cluster), command, unchanged, wanted)


def _agreed(
    question: str, command: str, unchanged: str, wanted: Callable[[], PgtandemError | None] | None = None
) -> bool:
    if not can_ask():
        raise PgtandemError(
            "PT-1007",
            f"{command} would change the cluster, and there is no terminal to ask on",
            next_step=f"pgtandem {as_typed() or command} --yes",
        )
    try:
        return ask(question, wanted)
    except KeyboardInterrupt:
        raise PgtandemError("PT-4009", unchanged) from None


def _question(plan: Plan, cluster: str) -> str:
    if plan.highest_risk is Risk.REMOVE:
        return f"Remove the data of cluster {cluster} for good?"
    return "Go ahead?"


def write_client_root(topology: Topology, world: World) -> str | None:
    """The file with the CA's certificates that `uri` and `psql` point at; None without TLS, or where there is no CA."""
    authority = observe_authority(topology, world)
    if not isinstance(authority, Known):
        return None
    return world.workspace.write_root_certificate(authority.value.text)


def write_client_passfile(topology: Topology, world: World) -> str | None:
    """The passfile that `uri` and `psql` point at; None where the superuser's password is not known here."""
    secret = world.workspace.secret(SUPERUSER_SECRET)
    if secret is None:
        return None
    return world.workspace.write_passfile(
        render_passfile((node.address, node.port, SUPERUSER, secret) for node in topology.nodes)
    )
