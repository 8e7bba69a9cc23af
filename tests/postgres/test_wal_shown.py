"""What pg_waldump shows, in words: outputs of PostgreSQL 15 and 18."""

from pgtandem.model.beyond import Beyond
from pgtandem.model.lsn import Lsn
from pgtandem.postgres.wal_shown import committed_in_words, read_beyond

SINCE = Lsn.parse("0/50000D0")
SHOWN = """\
rmgr: Heap len (rec/tot): 59/59, tx:        752, lsn: 0/050000D0, prev 0/05000098, desc: INSERT off: 3
rmgr: Transaction len (rec/tot): 34/34, tx:        752, lsn: 0/05000110, prev 0/050000D0, desc: COMMIT
rmgr: Transaction len (rec/tot): 34/34, tx:        753, lsn: 0/05000178, prev 0/05000138, desc: COMMIT
rmgr: Transaction len (rec/tot): 34/34, tx:        754, lsn: 0/050001A0, prev 0/05000178, desc: ABORT
"""
END = "pg_waldump: error: error in WAL record at 0/50001A0: invalid record length at 0/50001C8"


def test_commits_and_bytes_are_counted_although_it_ends_with_an_error() -> None:
    assert committed_in_words(SHOWN, END, SINCE) == (
        "2 transactions were committed after 0/50000D0, about 202 B of WAL"
    )


def test_what_a_shutdown_fills_a_segment_with_is_not_counted() -> None:
    whole = "pg_waldump: error: error in WAL record at 0/5FFFF90: invalid record length at 0/6000000"
    assert committed_in_words(SHOWN, whole, SINCE) == committed_in_words(SHOWN, END, SINCE)


def test_no_record_behind_the_position_means_that_nothing_was_committed() -> None:
    nothing = "pg_waldump: error: could not find a valid record after 0/50000D0"
    assert committed_in_words("", nothing, SINCE) == "no transaction was committed after 0/50000D0"


def test_a_segment_that_is_gone_is_not_taken_for_nothing() -> None:
    gone = 'pg_waldump: error: could not find file "000000010000000000000005": No such file or directory'
    words = committed_in_words("", gone, SINCE)
    assert words == (
        "what was committed after 0/50000D0 cannot be told from it "
        '(could not find file "000000010000000000000005": No such file or directory)'
    )


DATED = """\
rmgr: Transaction len (rec/tot): 46/46, tx: 752, lsn: 0/05000110, prev 0/050000D0, desc: COMMIT 2026-11-25 17:21:10.100000 UTC
rmgr: Transaction len (rec/tot): 46/46, tx: 753, lsn: 0/05000140, prev 0/05000110, desc: COMMIT 2026-11-25 17:21:11.350000 UTC
"""  # noqa: E501


def test_the_time_from_the_first_commit_to_the_last_is_told() -> None:
    assert read_beyond(DATED, END, SINCE) == Beyond(SINCE, 2, 0x140 + 46 - 0xD0, 1.25)
    assert str(read_beyond(DATED, END, SINCE)).endswith("about 158 B of WAL, within 1.2 s")


def test_one_transaction_has_no_time_of_its_own() -> None:
    assert str(read_beyond(DATED.splitlines()[0], END, SINCE)) == (
        "1 transaction was committed after 0/50000D0, about 110 B of WAL"
    )


def test_where_no_transaction_ended_the_bytes_are_known_from_where_it_stopped_reading() -> None:
    assert read_beyond("", END, SINCE) == Beyond(SINCE, 0, 208)
