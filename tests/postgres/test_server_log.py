"""What a standby's log says of WAL that it asks for."""

from pgtandem.postgres.server_log import segment_asked_in_vain

STARTED = "LOG:  started streaming WAL from primary at 0/5000000 on timeline 1"
GONE = (
    "2026-01-13 12:00:00.000 UTC [7] FATAL:  could not receive data from WAL stream: "
    "ERROR:  requested WAL segment 00000001000000000000000{} has already been removed"
)
RESTORED = 'LOG:  restored log file "000000010000000000000005" from archive'


def test_segment_that_was_asked_for_twice_is_gone() -> None:
    assert segment_asked_in_vain([STARTED, GONE.format(5), STARTED, GONE.format(5)]) == "000000010000000000000005"


def test_one_request_is_not_enough() -> None:
    assert segment_asked_in_vain([STARTED, GONE.format(5), STARTED]) is None


def test_what_the_archive_brings_is_not_in_vain() -> None:
    assert segment_asked_in_vain([GONE.format(5), RESTORED, GONE.format(6), RESTORED]) is None
    assert segment_asked_in_vain([GONE.format(5), RESTORED, GONE.format(5)]) is None
    assert segment_asked_in_vain([GONE.format(5), GONE.format(6), GONE.format(7)]) is None
