"""The primary: made or changed, started, with the role and the slots that its standbys need."""

from pgtandem.model.facts import Known
from pgtandem.model.names import REPLICATION_ROLE, REWIND_ROLE, STREAM_NAME, NodeName
from pgtandem.model.plan import Condition, NodeFiles, Risk, Step, StepKind
from pgtandem.plan.adopting import superuser, take_over
from pgtandem.plan.archiving import archive_folder
from pgtandem.plan.changes import change, loaded, restart, start
from pgtandem.plan.conditions import judge
from pgtandem.plan.desired import Wish, confirming, desired_files, kept_above_wish, settings_in_place, streams
from pgtandem.plan.draft import Draft, cascade_order
from pgtandem.plan.drift import drift_of, unanswered
from pgtandem.plan.minor_versions import restarts_for_that_alone
from pgtandem.plan.outside import places_to_fill
from pgtandem.plan.promotion import unfence
from pgtandem.plan.slots import before_standbys_move, slot
from pgtandem.plan.standbys import prove
from pgtandem.postgres.conf import SETTINGS_FILE, parse_settings
from pgtandem.postgres.sync_names import listed_names


def sync_later(draft: Draft) -> bool:
    """Whether the synchronous settings must wait: too few of those that could confirm stream now. The archive's stream
    is not named before it streams."""
    wish = draft.wish
    if not confirming(wish):
        return False
    candidates = wish.topology.confirmers(wish.primary)
    able = [name for name in candidates if _confirms(wish, name)]
    if STREAM_NAME in candidates and STREAM_NAME not in able:
        named = settings_in_place(wish.seen(wish.primary)).get("synchronous_standby_names", "")
        if STREAM_NAME not in listed_names(named):
            return True
    return len(able) < min(wish.topology.replication.synchronous.count, len(candidates))


def _confirms(wish: Wish, name: str) -> bool:
    """Whether one of those that may confirm streams now."""
    if name == STREAM_NAME:
        return judge(Condition("archive_streams", wish.primary), wish.observed) is True
    return streams(wish, NodeName(name))


def plan_primary(draft: Draft) -> None:
    wish, name = draft.wish, draft.wish.primary
    files = desired_files(wish, name, keep_sync=sync_later(draft))
    if draft.builds(name):
        create_data_directory(draft, files)
    else:
        unfence(draft)
        take_over(draft, name)
        superuser(draft)
        change(draft, name, files, drift_of(wish, name, keep_sync=sync_later(draft)))
    archive_folder(draft)
    if not isinstance(wish.seen(name).postmaster, Known) or unanswered(wish.seen(name)):
        after = (f"{name}.data", f"{name}.unfence", f"{name}.files", "archive.folder", f"{name}.keys")
        start(draft, name, "is_primary", after)
    replication_role(draft)
    for standby in wish.topology.standbys_of(name, name):
        slot(draft, name, standby)


def create_data_directory(draft: Draft, files: NodeFiles) -> None:
    name = draft.wish.primary
    directory = draft.wish.node(name).data_directory
    draft.add(
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
            places=places_to_fill(draft.wish, name),
        )
    )


def replication_role(draft: Draft) -> None:
    name = draft.wish.primary
    seen = draft.wish.seen(name)
    if draft.wish.observed.passwords.next:
        return  # it is about to get another password, or has it: see `rotation`
    if seen.running is not None:
        if judge(Condition("role_ready", name, REPLICATION_ROLE), draft.wish.observed) is True:
            return
    elif not draft.builds(name):
        draft.look_again = True
        return
    there = seen.running is not None and REPLICATION_ROLE in seen.running.roles
    draft.add(
        Step(
            f"{name}.role",
            StepKind.CREATE_ROLE,
            name,
            f"{'mend' if there else 'create'} the role {REPLICATION_ROLE}",
            ("Its rights or its password are others than pgtandem gave it. " if there else "")
            + "Standbys stream as it: replication only, no superuser, SCRAM password.",
            Risk.CREATE,
            needs=(f"{name}.start", f"{name}.files", *before_standbys_move(draft, name)),
            expects=(Condition("is_primary", name),),
            proves=(Condition("role_ready", name, REPLICATION_ROLE),),
            undo="" if there else f"DROP ROLE {REPLICATION_ROLE}",
            names=(REPLICATION_ROLE,),
        )
    )


def rewind_role_left(draft: Draft) -> None:
    """The role of a rewind that was cut off: there is none while nobody rewinds."""
    name = draft.wish.primary
    server = draft.wish.seen(name).running
    if server is None or REWIND_ROLE not in server.roles:
        return
    draft.add(
        Step(
            f"{name}.rewinder",
            StepKind.DROP_ROLE,
            name,
            f"drop the role {REWIND_ROLE}",
            "A rewind was cut off; nobody needs it any more.",
            Risk.CREATE,
            proves=(Condition("role_gone", name, REWIND_ROLE),),
            names=(REWIND_ROLE,),
        )
    )


def restart_primary(draft: Draft) -> None:
    """The primary's restart comes after the standbys': where a setting was raised, they must have it first."""
    wish, name = draft.wish, draft.wish.primary
    if draft.builds(name) or wish.seen(name).running is None:
        return
    drift = drift_of(wish, name, keep_sync=sync_later(draft))
    first = [f"{other}.restart" for other in wish.topology.names if other != name]
    if not sync_later(draft):
        # Nor may one that is leaving be the one that has too little; it may be needed for commits until then.
        first += [f"{former.name}.stop" for former in wish.observed.former]
    restart(draft, name, drift, tuple(first))
    if restarts_for_that_alone(wish, name) and len(wish.topology.names) > 1:
        draft.notes.append(
            f"{name} restarts last, and writes pause for that. Once the standbys run the newer version, pgtandem "
            "switchover does it too: the old primary starts again as a standby."
        )
    kept = {key for other in wish.topology.names if other != name for key in kept_above_wish(wish, other)}
    if kept:
        draft.look_again = True
        draft.notes.append(
            f"The standbys keep the higher {', '.join(sorted(kept))} until {name} has the lower one; they are "
            "restarted after it, in a second round."
        )
        for other in cascade_order(wish)[1:]:
            if wish.node(other).apply_delay is not None:
                continue
            prove(draft, other, "It must replay the lower setting before it may have it itself.")


def can_sync(draft: Draft) -> bool:
    """Whether everybody who is to confirm streams, or will once this plan is done as far as it is drafted."""
    return all(_confirms(draft.wish, other) or draft.has(proof) for other, proof in _proofs(draft.wish).items())


def _proofs(wish: Wish) -> dict[str, str]:
    """The step that shows of each of those who may confirm that it streams."""
    names = wish.topology.confirmers(wish.primary)
    return {name: "stream.start" if name == STREAM_NAME else f"{name}.proof" for name in names}


def sync_last(draft: Draft) -> None:
    wish, name = draft.wish, draft.wish.primary
    if not sync_later(draft):
        return
    files = desired_files(wish, name)
    if files == desired_files(wish, name, keep_sync=True):
        return
    if not can_sync(draft):
        draft.look_again = True
        return
    names = files.text(SETTINGS_FILE)
    sync = [line for line in names.splitlines() if line.startswith("synchronous_")]
    draft.add(
        Step(
            f"{name}.sync",
            StepKind.WRITE_FILES,
            name,
            "let commits wait for standbys: " + "; ".join(sync),
            "Only now: before, a commit would have waited for standbys that were not there.",
            Risk.RELOAD,
            needs=(
                *_proofs(wish).values(),
                f"{name}.restart",
                f"{name}.files",
                f"{name}.start",
                f"{name}.role",
                "archive.check",
            ),
            expects=(Condition("is_primary", name),),
            proves=loaded(draft, name, parse_settings(names), ("synchronous_commit", "synchronous_standby_names")),
            undo='write synchronous = "none" and apply',
            files=files,
        )
    )
