"""Which backups go, and which never do."""

from cli.values import backup
from pgtandem.model.backup import Backup, Backups, Verified
from pgtandem.model.facts import ABSENT, Known
from pgtandem.model.observed import Observed, ObservedHost
from pgtandem.model.topology import BackupPolicy
from pgtandem.plan.retention import expired, surely_now

DAY = 86400.0
NOW = 1_800_000_000.0


def at(day: int, kind: str = "full", *, parent: str | None = None, verified: bool = True) -> Backup:
    """A backup that ended so many days ago."""
    proof = Verified(NOW - day * DAY) if verified else None
    return backup(f"day{day:02}-{kind}", NOW - day * DAY, parent=parent, verified=proof)


def gone(policy: BackupPolicy, *found: Backup) -> list[str]:
    return [old.label for old in expired(Backups(found), policy, NOW)]


def test_without_a_policy_everything_stays() -> None:
    assert gone(BackupPolicy(), at(900), at(1)) == []


def test_so_many_full_ones_stay() -> None:
    assert gone(BackupPolicy(keep=2), at(3), at(2), at(1)) == ["day03-full"]


def test_young_ones_stay_whatever_their_number() -> None:
    policy = BackupPolicy(keep=1, keep_for_seconds=7 * DAY)
    assert gone(policy, at(9), at(8), at(6), at(2), at(1)) == ["day08-full", "day09-full"]


def test_the_last_verified_one_stays_however_old_it_is() -> None:
    assert gone(BackupPolicy(keep_for_seconds=DAY), at(90)) == []
    assert gone(BackupPolicy(keep_for_seconds=DAY), at(91), at(90), at(80, verified=False)) == ["day91-full"]


def test_one_that_was_never_verified_takes_no_place() -> None:
    assert gone(BackupPolicy(keep=1), at(2), at(1, verified=False)) == []


def test_where_none_is_verified_none_goes() -> None:
    assert gone(BackupPolicy(keep=1), at(3, verified=False), at(2, verified=False)) == []


def test_what_a_kept_incremental_one_continues_stays() -> None:
    chain = (
        at(9),
        at(8, "incremental", parent="day09-full"),
        at(1, "incremental", parent="day08-incremental"),
    )
    assert gone(BackupPolicy(keep_for_seconds=2 * DAY), *chain) == []


def test_incremental_ones_go_with_their_full_one_the_last_first() -> None:
    chain = (at(9), at(8, "incremental", parent="day09-full"), at(1))
    assert gone(BackupPolicy(keep=1), *chain) == ["day08-incremental", "day09-full"]


def test_a_clock_that_runs_ahead_makes_no_backup_old() -> None:
    hosts = {f"ssh://h{ahead}": ObservedHost(clock_ahead_seconds=Known(float(ahead))) for ahead in (5, -400 * DAY, 9)}
    here_ahead = surely_now(Observed({}, ABSENT, hosts=hosts), NOW + 400 * DAY)
    assert here_ahead == NOW
    del hosts[f"ssh://h{-400 * DAY}"]
    assert surely_now(Observed({}, ABSENT, hosts={**hosts, "ssh://h": ObservedHost()}), NOW) == NOW
