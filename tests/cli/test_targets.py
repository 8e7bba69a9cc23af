"""What a restore is asked to stop at."""

import time
from datetime import UTC, datetime

import pytest

from pgtandem.cli.targets import read_target
from pgtandem.errors import PgtandemError
from pgtandem.model.restore import TargetKind

NOW = datetime(2027, 1, 15, 14, 0, 0, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def tokyo(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock, nine hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("latest", TargetKind.LATEST, "latest"),
        ("0/3000060", TargetKind.LSN, "0/3000060"),
        ("lsn:1/af", TargetKind.LSN, "1/AF"),
        ("1234", TargetKind.XID, "1234"),
        ("xid:1234", TargetKind.XID, "1234"),
        ("before-upgrade", TargetKind.NAME, "before-upgrade"),
        ("name:14:03", TargetKind.NAME, "14:03"),
        ("2027-01-15T14:03:00+09:00", TargetKind.TIME, "2027-01-15 05:03:00.000000+00"),
        ("2027-01-15 14:03", TargetKind.TIME, "2027-01-15 05:03:00.000000+00"),
        ("2027-01-15T05:03:00.250Z", TargetKind.TIME, "2027-01-15 05:03:00.250000+00"),
        ("2027-01-15 14:03:00 +0900", TargetKind.TIME, "2027-01-15 05:03:00.000000+00"),
        ("2027-01-15 14:03:00.25 +09", TargetKind.TIME, "2027-01-15 05:03:00.250000+00"),
        ("2027-01-15 05:03:00.25+00", TargetKind.TIME, "2027-01-15 05:03:00.250000+00"),
        ("2027-01-15 05:03:00.25 UTC", TargetKind.TIME, "2027-01-15 05:03:00.250000+00"),
        ("yesterday 14:03", TargetKind.TIME, "2027-01-14 05:03:00.000000+00"),
        ("now", TargetKind.TIME, "2027-01-15 14:00:00.000000+00"),
        ("name:now", TargetKind.NAME, "now"),
        ("10 minutes ago", TargetKind.TIME, "2027-01-15 13:50:00.000000+00"),
        ("1 day ago", TargetKind.TIME, "2027-01-14 14:00:00.000000+00"),
    ],
)
def test_each_form_is_read(text: str, kind: TargetKind, value: str) -> None:
    target = read_target(text, NOW)
    assert (target.kind, target.text) == (kind, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027-01-15",
        "xid:x",
        "xid:1",
        "0/0/0",
        "yesterday",
        "lsn:x",
        "2027-13-01T00:00",
        "minutes ago",
        "3 weeks ago",
    ],
)
def test_what_is_none_of_them_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(PgtandemError) as caught:
        read_target(text, NOW)
    assert caught.value.code.text == "PT-1006"


def test_a_time_to_come_is_refused() -> None:
    with pytest.raises(PgtandemError, match="still to come"):
        read_target("2027-01-15T15:03:00Z", NOW)


def test_a_time_that_comes_twice_is_asked_for_by_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    with pytest.raises(PgtandemError, match="twice") as caught:
        read_target("2026-10-25 02:30", NOW)
    assert caught.value.next_step == "--to 2026-10-25T02:30:00+02:00   or   --to 2026-10-25T02:30:00+01:00"
