"""What is wrong with an archive, from the names in it and what its history files say."""

from cli.values import backup
from pgtandem.model.archived import ArchiveContent, ArchivedWal, Runs, TimelineContent
from pgtandem.model.backup import Backups
from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch
from pgtandem.model.stream import Tail
from pgtandem.plan.archive_report import archive_report

SIZE = 16 * 1024 * 1024


def damages(*runs: Runs, left: tuple[int, ...]) -> list[str]:
    """Of timelines 1, 2 and so on, each left for the next in one of these segments."""
    path = tuple(TimelineSwitch(Timeline(at), Lsn(segment * SIZE + 1000)) for at, segment in enumerate(left, 1))
    content = tuple(TimelineContent(Timeline(at), run, history=at > 1) for at, run in enumerate(runs, 1))
    histories = {Timeline(at + 1): path[:at] for at in range(1, len(runs))}
    report = archive_report("1", "/archive", ArchivedWal(ArchiveContent(SIZE, content), histories), Backups())
    return [damage.what for damage in report.damages]


def test_timelines_that_meet_lack_nothing() -> None:
    assert damages(((2, 5),), ((6, 8),), left=(6,)) == []
    assert damages(((2, 6),), ((6, 8),), ((8, 9),), left=(6, 8)) == []
    assert damages(((2, 5),), (), ((6, 9),), left=(6, 6)) == []
    assert damages(((2, 5),), (), left=(6,)) == []


def test_what_the_old_primary_did_not_archive_before_it_went_is_told() -> None:
    assert damages(((2, 5),), ((7, 8),), left=(7,)) == ["1 segment missing on timeline 1: 000000010000000000000006"]
    assert damages(((2, 5),), (), ((9, 9),), left=(6, 9)) == [
        "3 segments missing on timeline 2: 000000020000000000000006 to 000000020000000000000008"
    ]


def test_what_a_new_primary_did_not_archive_after_its_promotion_is_told() -> None:
    assert damages(((2, 5),), ((8, 9),), left=(6,)) == [
        "2 segments missing on timeline 2: 000000020000000000000006 to 000000020000000000000007"
    ]


def test_what_was_pruned_is_not_missing() -> None:
    assert damages((), (), (), ((27, 38),), left=(11, 11, 15)) == []  # the history files stay
    assert damages((), ((7, 8),), left=(6,)) == []
    assert damages(((4, 5),), ((6, 8),), ((8, 9),), left=(6, 8)) == []


def test_wal_behind_the_place_where_a_timeline_was_left_is_nobodys_hole() -> None:
    """The old primary lived on for a while, or the cluster went back to an earlier moment."""
    assert damages(((2, 9),), ((4, 6),), left=(4,)) == []


def test_a_timeline_of_which_there_is_only_what_was_streamed_can_be_restored() -> None:
    content = (TimelineContent(Timeline(1), ((2, 5),)), TimelineContent(Timeline(2), history=True))
    tail = Tail(Timeline(2), 6, Lsn(6 * SIZE + 5000))
    wal = ArchivedWal(
        ArchiveContent(SIZE, content, tail=tail), {Timeline(2): (TimelineSwitch(Timeline(1), Lsn(6 * SIZE + 1000)),)}
    )
    one = backup("20270114T031320Z-full", 1_800_000_000.0, start_lsn=Lsn(2 * SIZE + 40), stop_lsn=Lsn(2 * SIZE + 256))
    found = archive_report("1", "/archive", wal, Backups((one,))).restorable
    assert [(each.timeline, each.end) for each in found] == [(1, Lsn(6 * SIZE)), (2, tail.end)]
