"""Which backups are not kept any longer."""

from dataclasses import replace

from pgtandem.model.backup import Backup, BackupKind, Backups
from pgtandem.model.facts import Known
from pgtandem.model.observed import Observed
from pgtandem.model.topology import BackupPolicy


def surely_now(observed: Observed, now: float) -> float:
    """What time it is at least: by the clock that is behind all others, this machine's among them. One that runs ahead
    must not make backups old."""
    ahead = [host.clock_ahead_seconds for host in observed.hosts.values()]
    return now + min([0.0, *(fact.value for fact in ahead if isinstance(fact, Known))])


def expired(backups: Backups, policy: BackupPolicy, now: float) -> tuple[Backup, ...]:
    """The backups that neither `keep` nor `keep_for` keeps; none where the policy names neither.

    `keep` counts full backups, each with the incremental ones that continue it. Never among them: the last verified
    backup, one whose content was never found right while no verified one is newer, one that is restored from just now,
    and one that another kept one needs.
    """
    if policy.keep is None and policy.keep_for_seconds is None:
        return ()
    sound = [backup for backup in backups.kept if backup.sound]
    if not sound:
        return ()
    last = sound[-1]
    full = [backup for backup in sound if backup.kind is BackupKind.FULL]
    counted = {backup.label for backup in full[-policy.keep :]} if policy.keep is not None else set()
    stay = {last.label, *(label for reader in backups.readers for label in reader.labels)}
    for backup in backups.kept:
        chain = backups.chain(backup) or (backup,)
        young = policy.keep_for_seconds is not None and now - backup.ended < policy.keep_for_seconds
        if chain[0].label in counted or young or backup.ended >= last.ended:
            stay.add(backup.label)
    for label in tuple(stay):
        found = backups.get(label)
        if found is not None:  # a reader may name what somebody removed
            stay |= {needed.label for needed in backups.chain(found) or ()}
    # An incremental one without what it continues is of no use: the last of a chain goes first.
    return tuple(backup for backup in reversed(backups.kept) if backup.label not in stay)


def spared(backups: Backups, policy: BackupPolicy, now: float) -> list[str]:
    """A sentence for each backup that would go, and stays because somebody restores from it."""
    stay = {backup.label for backup in backups.found} - {backup.label for backup in expired(backups, policy, now)}
    unread = replace(backups, readers=())
    return [
        f"Backup {backup.label} and its WAL stay until {reader.who} is done with them; "
        "where that was killed, a quarter of an hour longer."
        for backup in expired(unread, policy, now)
        if backup.label in stay
        for reader in backups.readers
        if any(backup in (backups.chain(used) or ()) for used in map(backups.get, reader.labels) if used)
    ]
