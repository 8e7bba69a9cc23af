"""How many segments the program that pushes WAL sends before it says which are durable."""

import subprocess

import pytest

from pgtandem.postgres.wal_push import PUSH_TEXT


def function(name: str) -> str:
    """One function of the program."""
    _, found, rest = PUSH_TEXT.partition(f"\n{name}() {{")
    assert found, name
    return f"{name}() {{{rest.partition(chr(10) + '}')[0]}\n}}\n"


def sizes(most: int, sent: int, seconds: int) -> int:
    """The size of the batch after one of so many segments that took so long, while many wait."""
    script = f"""
    set -u
    {function("choose_size")}{function("hurry")}
    most={most} files={sent} cut=1 ready= began=$(($(date +%s) - {seconds}))
    hurry; choose_size 12; echo $size
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return int(done.stdout)


@pytest.mark.parametrize(
    ("sent", "seconds", "then"),
    [
        (2, 1, 4),  # the line is fast: twice as many, up to 12
        (12, 10, 12),
        (12, 120, 2),  # ten seconds each
        (2, 320, 1),  # a hundred kB/s
        (1, 40, 1),
        (4, 41, 1),
    ],
)
def test_over_a_slow_line_a_batch_takes_about_twenty_seconds(sent: int, seconds: int, then: int) -> None:
    assert sizes(sent, sent, seconds) == then
