"""What can be restored from an archive with many backups and timelines, in few lines."""

from dataclasses import replace
from io import StringIO

from pgtandem.cli.show_archive import archive_lines
from pgtandem.cli.terminal import Paint
from pgtandem.model.archive_report import Restorable
from pgtandem.model.lsn import Lsn, Timeline

from . import values


def test_backups_that_lead_to_the_same_end_are_one_line() -> None:
    ends = {1: Lsn(900), 2: Lsn(1000)}
    every = tuple(
        Restorable(f"b{number}", Timeline(timeline), Lsn(number * 100), end, "x", hole=False)
        for number in (1, 2, 3)
        for timeline, end in ends.items()
    )
    broken = Restorable("b0", Timeline(1), Lsn(16), Lsn(48), "000000010000000000000009", hole=True)
    report = replace(values.ARCHIVE, restorable=(broken, *every), damages=())
    lines = archive_lines(values.PAIR, report, Paint(StringIO()), 120)
    assert [line for line in lines if line.startswith("restorable")] == [
        "restorable: backup b0, timeline 1: 0/10 to 0/30, where 000000010000000000000009 is missing",
        "restorable: 3 backups from b1 on, timeline 1: 0/64 to 0/384",
        "restorable: 3 backups from b1 on, timeline 2: 0/64 to 0/3E8",
    ]
