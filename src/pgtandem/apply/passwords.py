"""Changing passwords. At every moment each role's password is among the stored ones: a killed run leaves nobody out."""

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.names import REPLICATION_ROLE, SUPERUSER, NodeName, Secret
from pgtandem.model.plan import Step
from pgtandem.observe.parts import SERVER
from pgtandem.ports import REPLICATION_SECRET, SUPERUSER_SECRET, former_of, next_of
from pgtandem.postgres.conninfo import render_passfile
from pgtandem.postgres.scram import verifier

_RECONNECT_SECONDS = 60.0
_SECRETS = (SUPERUSER_SECRET, REPLICATION_SECRET)


async def new_passwords(context: Context, step: Step) -> str:
    workspace = context.world.workspace
    stored = [name for name in _SECRETS if workspace.secret(name) is not None]
    if any(workspace.secret(next_of(name)) is None for name in stored):
        workspace.change_secrets({next_of(name): workspace.new_secret() for name in stored})
    return ""


async def rotate_passwords(context: Context, step: Step) -> str:
    """The roles get the next passwords, which are then the ones in force; the ones before are kept as the former.

    Where there are no next ones, they get those in force.
    """
    workspace, session = context.world.workspace, await context.session(step.node)
    current = {name: workspace.secret(name) for name in _SECRETS}
    new = {name: workspace.secret(next_of(name)) or current[name] for name in _SECRETS}
    superuser, replication = new[SUPERUSER_SECRET], new[REPLICATION_SECRET]
    if replication is None:
        raise PgtandemError("PT-4002", "a password that was to be given is not stored", next_step="pgtandem apply")

    def stored(secret: Secret) -> str:
        return verifier(secret.reveal(), workspace.token().encode())

    await session.put_replication_role(REPLICATION_ROLE, stored(replication))
    if superuser is not None:
        await session.set_password(SUPERUSER, stored(superuser))
    changes: dict[str, Secret | None] = {}
    for name in _SECRETS:
        if new[name] != current[name]:
            changes |= {name: new[name], next_of(name): None, former_of(name): current[name]}
    if changes:
        workspace.change_secrets(changes)
    nodes = context.topology.nodes
    if superuser is not None:
        workspace.write_passfile(render_passfile((node.address, node.port, SUPERUSER, superuser) for node in nodes))
    return ""


async def reconnect(context: Context, step: Step) -> str:
    """Ends the standby's connection, and waits until there is a new one. Raises PgtandemError PT-4008."""
    assert step.upstream is not None
    session, began = await context.session(step.upstream), context.world.clock.monotonic()
    before = await _streams(context, step.upstream, step.node)
    await session.end_sender(step.node)

    async def test() -> bool | None:
        assert step.upstream is not None
        return True if await _streams(context, step.upstream, step.node) - before else None

    if not await context.wait(test, _RECONNECT_SECONDS):
        tail = await context.log_tail(step.node)
        raise PgtandemError(
            "PT-4008",
            f"{step.node} does not connect to {step.upstream} again with the new password",
            why=f"Its log says:\n{tail}" if tail else "Its log says nothing about it.",
            next_step="mend what the log names, then pgtandem apply; the old passwords are kept",
        )
    return f"it streams again after {(context.world.clock.monotonic() - began) * 1000:.0f} ms"


async def _streams(context: Context, upstream: NodeName, standby: NodeName) -> set[int]:
    """The processes that stream to a standby now."""
    server = (await context.observer.nodes({upstream: SERVER})).nodes[upstream].running
    senders = server.senders if server is not None else ()
    return {sender.pid for sender in senders if sender.application_name == standby and sender.state == "streaming"}


async def forget_passwords(context: Context, step: Step) -> str:
    secrets = {SUPERUSER: SUPERUSER_SECRET, REPLICATION_ROLE: REPLICATION_SECRET}
    context.world.workspace.change_secrets({former_of(secrets[role]): None for role in step.names})
    return ""
