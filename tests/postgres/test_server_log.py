"""What a standby's log says of WAL that it asks for."""

from pgtandem.postgres.server_log import said_by_the_archive_command, segment_asked_in_vain


def test_the_archive_commands_own_words_are_told_and_nothing_that_somebody_may_have_written_into_a_statement() -> None:
    lines = [
        "archive-wal: an older trouble",
        '2026-11-26 17:00:00.000 UTC [7] ERROR:  syntax error at or near "x" at character 1',
        "2026-11-26 17:00:00.000 UTC [7] STATEMENT:  ALTER ROLE shop",
        "    PASSWORD: 'secret'",
        "INSTRUCTION :  ALTER ROLE shop PASSWORD 'secret'",
        "STATEMENT:  ALTER ROLE shop PASSWORD 'secret'",
        "archive-wal: the archive /srv/archive/7 is not there",
        "2026-11-26 17:00:01.000 UTC [7] LOG:  archive command failed with exit code 1",
        "2026-11-26 17:00:01.000 UTC [7] DETAIL:  The failed archive command was: set -- x",
        "archive-wal: the archive /srv/archive/7 is not there",
        "restore-wal: not this one",
    ]
    assert said_by_the_archive_command(lines) == "archive-wal: the archive /srv/archive/7 is not there"
    assert said_by_the_archive_command(["cp: a: full", "push-wal: no"]) == "cp: a: full; push-wal: no"
    assert said_by_the_archive_command(lines[1:6]) == ""
    assert (
        said_by_the_archive_command(["Error 46 : Write error : cannot write"])
        == "Error 46 : Write error : cannot write"
    )


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
