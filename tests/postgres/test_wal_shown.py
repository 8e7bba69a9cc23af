"""What pg_waldump shows, in words: outputs of PostgreSQL 15 and 18, without dates."""

from pgtandem.model.lsn import Lsn
from pgtandem.postgres.wal_shown import committed_in_words

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
        "2 transactions were committed after 0/50000D0, about 208 bytes of WAL"
    )


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
