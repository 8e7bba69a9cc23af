"""What is told of a program that failed."""

import pytest

from pgtandem.ports import Completed

INITDB = b"""running bootstrap script ... ok
initdb: warning: enabling something
2026-11-25 13:36:00.000 UTC [1] FATAL:  could not access file "$libdir/dict_snowball": No such file or directory
2026-11-25 13:36:00.000 UTC [1] STATEMENT:  CREATE FUNCTION dsnowball_init(INTERNAL)
\t    RETURNS INTERNAL AS '$libdir/dict_snowball', 'dsnowball_init'
\tLANGUAGE C STRICT;

child process exited with exit code 1
initdb: removing data directory "/srv/data"
"""


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (INITDB, "\n".join(INITDB.decode().splitlines()[2:6])),
        (b"one\ntwo\nthree\nfour\nfive\n", "two\nthree\nfour\nfive"),
        (b"one\n", "one"),
        (b"", "said on stdout"),
    ],
)
def test_the_first_error_is_told_or_else_the_last_lines(stderr: bytes, told: str) -> None:
    assert Completed(1, b"said on stdout\n", stderr).complaint == told
