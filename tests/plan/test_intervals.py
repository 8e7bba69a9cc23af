"""What can be restored, and which backup is taken for it."""

from dataclasses import replace

import pytest

from cli.values import backup
from doctor.looks import changed, healthy_look
from pgtandem.errors import PgtandemError
from pgtandem.model.archived import ArchiveContent, ArchivedWal, TimelineContent
from pgtandem.model.backup import Backups, Verified
from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch
from pgtandem.model.restore import Interval, Target, TargetKind
from pgtandem.plan.intervals import choose, contested, intervals

SIZE = 16 * 1024 * 1024
T0 = 1_800_000_000.0
ONE, TWO, THREE = Timeline(1), Timeline(2), Timeline(3)


def lsn(segment: int, offset: int = 0) -> Lsn:
    return Lsn(segment * SIZE + offset)


def wal(
    *timelines: TimelineContent, histories: dict[Timeline, tuple[TimelineSwitch, ...]] | None = None
) -> ArchivedWal:
    return ArchivedWal(ArchiveContent(SIZE, timelines), histories or {})


def full(segment: int, *, label: str = "20270114T031320Z-full", timeline: Timeline = ONE) -> Backups:
    return Backups((backup(label, T0, timeline=timeline, start_lsn=lsn(segment, 40), stop_lsn=lsn(segment, 256)),))


def at(segment: int, offset: int = 0) -> Target:
    return Target(TargetKind.LSN, str(lsn(segment, offset)), lsn=lsn(segment, offset))


def when(seconds: float) -> Target:
    return Target(TargetKind.TIME, str(T0 + seconds), moment=T0 + seconds)


def written(*names: str) -> dict[str, float]:
    return dict.fromkeys(names, T0 + 100)


SWITCHED = wal(
    TimelineContent(ONE, ((2, 5),)),
    TimelineContent(TWO, ((5, 8),), history=True),
    TimelineContent(THREE, ((8, 9),), history=True),
    histories={
        TWO: (TimelineSwitch(ONE, lsn(5, 1000)),),
        THREE: (TimelineSwitch(ONE, lsn(5, 1000)), TimelineSwitch(TWO, lsn(8, 500))),
    },
)


def test_a_later_timeline_that_cannot_be_reached_is_a_hole_at_the_end_of_the_one_before_it() -> None:
    """What the old primary had not archived when it went: the archive has its successor's WAL, and no way there."""
    lacks_one = wal(
        TimelineContent(ONE, ((2, 5),)),
        TimelineContent(TWO, ((7, 8),), history=True),
        histories={TWO: (TimelineSwitch(ONE, lsn(7, 1000)),)},
    )
    (found,) = intervals(full(2), lacks_one, {})
    assert (found.timeline, found.end) == (ONE, lsn(6))
    assert (found.hole, found.missing) == (True, "000000010000000000000006")
    assert not any(each.hole for each in intervals(full(2), SWITCHED, {}))


def test_a_backup_leads_from_its_end_to_the_last_segment() -> None:
    (found,) = intervals(full(2), wal(TimelineContent(ONE, ((2, 7),))), written("000000010000000000000007"))
    assert (found.begin, found.end) == (lsn(2, 256), lsn(8))
    assert (found.begin_time, found.end_time) == (T0, T0 + 100)
    assert not found.hole


def test_what_an_older_timeline_had_not_archived_itself_counts_for_the_next_one() -> None:
    """The segment in which a timeline was left is archived under the name of the next one; here 2 never filled one."""
    after = wal(
        TimelineContent(ONE, ((2, 4),)),
        TimelineContent(THREE, ((5, 9),), history=True),
        histories={THREE: (TimelineSwitch(ONE, lsn(5, 1000)), TimelineSwitch(TWO, lsn(5, 5000)))},
    )
    times = {"000000010000000000000004": T0 + 10, "00000003.history": T0 + 50, "000000030000000000000009": T0 + 100}
    one, three = intervals(full(2), after, times)
    assert (one.end, one.end_time) == (lsn(5), T0 + 10)
    assert (three.timeline, three.begin, three.begin_time) == (THREE, lsn(5), T0 + 10)
    assert choose((one, three), at(5, 3000), None) == three
    assert choose((one, three), when(20), None) == three


@pytest.mark.parametrize(
    ("failed", "age", "told"),
    [
        ("000000010000000000000005", 1.0, True),
        ("000000010000000000000007", 1.0, True),
        ("000000010000000000000008", 1.0, False),
        ("000000020000000000000005", 1.0, False),
        ("000000010000000000000005", 500.0, False),
    ],
)
def test_a_segment_that_the_primary_cannot_archive_although_it_is_there_is_told(
    failed: str, age: float, told: bool
) -> None:
    (found,) = intervals(full(2), wal(TimelineContent(ONE, ((2, 7),))), {})
    archiver = {"last_failed_wal": failed, "last_failed_age_seconds": age, "last_archived_age_seconds": 100.0}
    look = changed(healthy_look("pair"), {"db1": {"server": {"archiver": archiver}}})
    assert contested(look.observed, found) == ((failed, "db1") if told else None)


def test_a_hole_ends_it_and_is_named() -> None:
    (found,) = intervals(full(2), wal(TimelineContent(ONE, ((2, 4), (6, 9)))), {})
    assert (found.end, found.missing, found.hole) == (lsn(5), "000000010000000000000005", True)


def test_without_any_wal_there_is_the_backups_own_end() -> None:
    (found,) = intervals(full(2), wal(), {})
    assert (found.begin, found.end) == (lsn(2, 256), lsn(2, 256))


def test_every_timeline_that_a_backup_leads_to_is_told_of() -> None:
    found = intervals(full(2), SWITCHED, {})
    assert [(each.timeline, each.begin, each.end) for each in found] == [
        (ONE, lsn(2, 256), lsn(6)),
        (TWO, lsn(5, 1000), lsn(9)),
        (THREE, lsn(8, 500), lsn(10)),
    ]


def test_a_backup_of_a_later_timeline_does_not_lead_to_an_earlier_one() -> None:
    found = intervals(full(6, timeline=TWO), SWITCHED, {})
    assert [each.timeline for each in found] == [TWO, THREE]


def test_a_hole_before_a_switch_cuts_the_later_timelines_off() -> None:
    broken = wal(
        TimelineContent(ONE, ((2, 2), (4, 5))), TimelineContent(TWO, ((5, 8),), history=True),
        histories={TWO: (TimelineSwitch(ONE, lsn(5, 1000)),)},
    )  # fmt: skip
    assert [each.timeline for each in intervals(full(2), broken, {})] == [ONE]


def test_an_incremental_backup_without_its_parent_leads_nowhere() -> None:
    lonely = Backups((backup("20270115T031320Z-incremental", T0, parent="20270114T031320Z-full"),))
    assert intervals(lonely, wal(TimelineContent(ONE, ((2, 7),))), {}) == ()


def two() -> tuple[Interval, ...]:
    older, newer = full(2).found[0], full(6, label="20270115T031320Z-full").found[0]
    both = Backups((older, backup(newer.label, T0 + 50, start_lsn=newer.start_lsn, stop_lsn=newer.stop_lsn)))
    return intervals(both, wal(TimelineContent(ONE, ((2, 9),))), written("000000010000000000000009"))


def test_the_newest_backup_before_the_target_is_taken() -> None:
    assert choose(two(), at(9), None).backup.label == "20270115T031320Z-full"
    assert choose(two(), at(5), None).backup.label == "20270114T031320Z-full"
    assert choose(two(), when(60), None).backup.label == "20270115T031320Z-full"
    assert choose(two(), when(20), None).backup.label == "20270114T031320Z-full"
    assert choose(two(), Target(TargetKind.LATEST, "latest"), None).backup.label == "20270115T031320Z-full"


def test_a_backup_that_is_known_to_be_damaged_is_taken_only_where_no_other_leads_there() -> None:
    older, newer = two()
    either = (older, replace(newer, spoilt=newer.backup))
    for target in (at(9), when(60), Target(TargetKind.LATEST, "latest")):
        assert choose(either, target, None).backup.label == "20270114T031320Z-full"
        assert choose(either, target, None, newer.backup.label).backup.label == newer.backup.label
        assert choose(either[1:], target, None).backup.label == newer.backup.label


def test_a_backup_that_continues_a_damaged_one_is_as_damaged() -> None:
    spoilt = Verified(T0, "base.tar changed since it was written")
    (first,) = full(2).found
    second = backup("20270115T031320Z-incremental", T0 + 50, parent=first.label, start_lsn=lsn(6), stop_lsn=lsn(6, 256))
    third = full(7, label="20270116T031320Z-full").found[0]
    archived = wal(TimelineContent(ONE, ((2, 9),)))
    found = intervals(Backups((replace(first, verified=spoilt), second, third)), archived, {})
    assert [each.spoilt.label if each.spoilt else None for each in found] == [first.label, first.label, None]
    found = intervals(Backups((first, replace(second, verified=spoilt), third)), archived, {})
    assert [each.spoilt.label if each.spoilt else None for each in found] == [None, second.label, None]
    assert choose(found, Target(TargetKind.LATEST, "latest"), None).backup.label == third.label
    assert choose(found, at(6, 300), None).backup.label == first.label


def test_nobody_knows_where_a_name_is_so_the_oldest_one_is_taken() -> None:
    assert choose(two(), Target(TargetKind.NAME, "x"), None).backup.label == "20270114T031320Z-full"


def test_the_newest_timeline_is_followed_and_an_older_one_where_it_is_named() -> None:
    found = intervals(full(2), SWITCHED, {})
    assert choose(found, at(9, 5), None).timeline == THREE
    assert choose(found, at(3), None).timeline == THREE
    assert choose(found, at(5, 2000), ONE).timeline == ONE


def refusal(target: Target, found: tuple[Interval, ...], timeline: Timeline | None = None) -> PgtandemError:
    with pytest.raises(PgtandemError) as caught:
        choose(found, target, timeline)
    assert caught.value.code.text == "PT-3054"
    return caught.value


def refused(target: Target, found: tuple[Interval, ...], timeline: Timeline | None = None) -> str:
    return refusal(target, found, timeline).why


def test_a_target_outside_is_refused_with_the_nearest_possible_ones() -> None:
    holes = intervals(full(2), wal(TimelineContent(ONE, ((2, 4), (6, 9)))), written("000000010000000000000004"))
    why = refused(at(7), holes)
    assert "gets to the last record before 0/5000000" in why
    assert "segment 000000010000000000000005 is missing" in why
    whole = intervals(full(2), wal(TimelineContent(ONE, ((2, 9),))), {})
    why = refused(at(20), whole)
    assert "gets to the last record before 0/A000000, the end of what is archived" in why
    assert "missing" not in why
    assert f"first one after it is {lsn(2, 256)}" in refused(at(1), holes)
    assert f"{{{T0 + 100}}}" in refused(when(200), holes)
    assert f"{{{T0}}}" in refused(when(-5), holes)
    assert "no backup leads to timeline 7" in refused(at(3), holes, Timeline(7)).lower()


def test_the_end_itself_is_no_target_and_the_command_that_gets_there_is_named() -> None:
    whole = intervals(full(2), wal(TimelineContent(ONE, ((2, 9),))), written("000000010000000000000009"))
    for target in (at(10), at(20), when(200)):
        asked = refusal(target, whole).next_step
        assert asked == "pgtandem restore --to latest   (the nearest one before it)"
    assert choose(whole, Target(TargetKind.LSN, "x", lsn=lsn(9, 16000000)), None)
    holes = intervals(full(2), wal(TimelineContent(ONE, ((2, 4), (6, 9)))), {})
    assert refusal(at(5), holes).next_step == "pgtandem restore --to latest   (the nearest one before it)"
    assert refusal(at(9, 6000), intervals(full(2), SWITCHED, {}), ONE).next_step == (
        "pgtandem restore --to latest --timeline 1   (the nearest one before it)"
    )


def test_between_two_backups_the_older_one_leads_to_the_nearest() -> None:
    older, newer = full(2).found[0], full(7, label="20270115T031320Z-full").found[0]
    both = Backups((older, backup(newer.label, T0 + 50, start_lsn=newer.start_lsn, stop_lsn=newer.stop_lsn)))
    found = intervals(both, wal(TimelineContent(ONE, ((2, 4), (7, 9)))), {})
    command = "pgtandem restore --to latest --backup 20270114T031320Z-full   (the nearest one before it)"
    assert refusal(at(6), found).next_step == command
