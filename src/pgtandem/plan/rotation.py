"""The rest of a change of passwords, as far as the stored ones tell that it is under way: see `passwords`."""

from dataclasses import replace

from pgtandem.model.names import REPLICATION_ROLE, SUPERUSER, NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.plan.desired import delays, desired_files, streams
from pgtandem.plan.draft import Draft, cascade_order
from pgtandem.plan.primary import sync_later


def finish_rotation(draft: Draft, *, begun: bool = False) -> None:
    """The steps from the roles on; nothing where no change is under way. `begun` says that this plan begins one."""
    wish, passwords = draft.wish, draft.wish.observed.passwords
    if not (begun or passwords.next or passwords.former or passwords.former_superuser):
        return
    server = wish.seen(wish.primary).running
    if server is None or server.in_recovery:
        draft.look_again = True
        return
    # One that took over in the middle may have received nothing of it.
    changes = begun or passwords.next or (passwords.former_superuser and not _has_new(draft, wish.primary))
    if changes:
        _change(draft)
    if changes or passwords.former:
        before = ""
        for name in cascade_order(wish)[1:]:
            if draft.has(f"{name}.proof") or not (streams(wish, name) or delays(wish, name)):
                draft.look_again = True
                return
            # One that replays late would not stream again before it has replayed all that it has.
            if wish.node(name).apply_delay is None:
                before = _reconnect(draft, name, before)
    late = [name for name in wish.topology.names if wish.node(name).apply_delay is not None and passwords.superuser]
    waits = [name for name in late if changes or not _has_new(draft, name)]
    if waits:
        draft.notes.append(
            f"{' and '.join(waits)} will know the new password of {SUPERUSER} only after the delay: the old one is "
            "kept until then, and pgtandem apply forgets it."
        )
    if changes or passwords.former or not waits:
        _forget(draft, REPLICATION_ROLE, *(() if waits or not passwords.superuser else (SUPERUSER,)))


def roles_with_password(observed: Observed) -> tuple[str, ...]:
    """The roles whose passwords are stored here; the superuser of a cluster that was taken over may have none."""
    return (SUPERUSER, REPLICATION_ROLE) if observed.passwords.superuser else (REPLICATION_ROLE,)


def give_passwords(draft: Draft) -> str:
    """The roles on the primary get the next passwords, or those in force where there are none. The step's id."""
    primary = draft.wish.primary
    rotate = f"{primary}.rotate"
    draft.add(
        Step(
            rotate,
            StepKind.ROTATE_PASSWORDS,
            primary,
            f"give {' and '.join(roles_with_password(draft.wish.observed))} their new passwords",
            "Who is connected stays connected.",
            Risk.RELOAD,
            needs=("cluster.passwords",),
            expects=(Condition("is_primary", primary),),
            proves=(Condition("role_ready", primary, REPLICATION_ROLE),),
        )
    )
    return rotate


def _change(draft: Draft) -> None:
    """The roles, and every passfile: steps that write a node's files for another reason come after the roles too."""
    wish, rotate = draft.wish, give_passwords(draft)
    draft.steps[:] = [
        replace(step, needs=(*step.needs, rotate)) if step.kind is StepKind.WRITE_FILES else step
        for step in draft.steps
    ]
    for name in cascade_order(wish):
        if draft.has(f"{name}.files") or wish.seen(name).directory is None:
            continue
        draft.add(
            Step(
                f"{name}.files",
                StepKind.WRITE_FILES,
                name,
                f"write the passfile of {name}",
                f"{name} streams with the password in it when it connects again, now or after a role change.",
                Risk.RELOAD,
                needs=(rotate,),
                expects=(Condition("data_is_ours", name, name),),
                files=desired_files(wish, name, keep_sync=name == wish.primary and sync_later(draft)),
            )
        )


def _reconnect(draft: Draft, name: NodeName, before: str) -> str:
    """One after the other: commits that wait for one of several go on meanwhile."""
    upstream = draft.wish.upstream(name)
    assert upstream is not None
    draft.add(
        Step(
            f"{name}.reconnect",
            StepKind.RECONNECT,
            name,
            f"let {name} connect to {upstream} again",
            "That proves the new password; the old one is kept until then.",
            Risk.RELOAD,
            needs=(
                *(f"{draft.wish.primary}.rotate", f"{name}.files", f"{upstream}.files", before),
                *(f"{name}.restart", f"{upstream}.restart"),
            ),
            proves=(Condition("streams_from", name, upstream),),
            upstream=upstream,
        )
    )
    return f"{name}.reconnect"


def _has_new(draft: Draft, name: NodeName) -> bool:
    server = draft.wish.seen(name).running
    role = server.roles.get(SUPERUSER) if server is not None else None
    return role is not None and role.password_matches is True


def _forget(draft: Draft, *roles: str) -> None:
    names = draft.wish.topology.names if SUPERUSER in roles else ()
    before = (StepKind.RECONNECT, StepKind.ROTATE_PASSWORDS)
    draft.add(
        Step(
            "cluster.forget_passwords",
            StepKind.FORGET_PASSWORDS,
            draft.wish.primary,
            f"forget the old password{'s' if len(roles) > 1 else ''} of {' and '.join(roles)}",
            "Standbys stream with the new one." if len(roles) == 1 else "Everybody is seen to have the new ones.",
            Risk.CREATE,
            needs=tuple(step.id for step in draft.steps if step.kind in before),
            expects=tuple(Condition("superuser_ready", name, SUPERUSER) for name in names),
            names=roles,
        )
    )
