"""What the archive commands of others say."""

import pytest

from pgtandem.postgres.archive_commands import archive_tool, tool_restore_command


@pytest.mark.parametrize(
    ("command", "tool", "restore"),
    [
        (
            "pgbackrest --stanza=shop archive-push %p",
            "pgBackRest",
            "pgbackrest --stanza=shop archive-get %f %p",
        ),
        (
            "/usr/bin/pgbackrest --config=/etc/other.conf --stanza=shop archive-push %p",
            "pgBackRest",
            "/usr/bin/pgbackrest --config=/etc/other.conf --stanza=shop archive-get %f %p",
        ),
        ("barman-wal-archive backup shop %p", "Barman", "barman-wal-restore backup shop %f %p"),
        ("barman-wal-archive -U barman backup shop %p", "Barman", "barman-wal-restore -U barman backup shop %f %p"),
        ("wal-g wal-push %p", "WAL-G", "wal-g wal-fetch %f %p"),
        ('envdir /etc/wal-g.d wal-g wal-push "%p"', "WAL-G", 'envdir /etc/wal-g.d wal-g wal-fetch %f "%p"'),
    ],
)
def test_the_commands_of_the_tools_are_known_with_those_that_bring_wal_back(
    command: str, tool: str, restore: str
) -> None:
    assert (archive_tool(command), tool_restore_command(command)) == (tool, restore)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "cp %p /archive/%f",
        "pgbackrest --stanza=shop archive-push %p || true",
        "pgbackrest --stanza=shop archive-push %p; cp %p /archive/%f",
        "pgbackrest --stanza=shop check",
        "wal-push %p",
        "rsync -a %p barman@backup:/var/lib/barman/shop/incoming/%f",
    ],
)
def test_what_may_do_something_else_is_nobodys(command: str) -> None:
    assert (archive_tool(command), tool_restore_command(command)) == (None, None)
