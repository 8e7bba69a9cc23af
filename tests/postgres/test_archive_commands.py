"""What the archive commands of others say."""

import pytest

from pgtandem.model.topology import ForeignArchive
from pgtandem.postgres.archive_commands import find_tool, keeper_of, not_ours, tool_restore_command


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
    found = find_tool(command)
    assert found
    assert (found.name, tool_restore_command(command)) == (tool, restore)


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
    assert (find_tool(command), tool_restore_command(command)) == (None, None)


def test_what_pgtandem_cannot_do_with_another_tools_archive_names_that_tools_command() -> None:
    kept = ForeignArchive("envdir /etc/wal-g.d wal-g wal-push %p", "envdir /etc/wal-g.d wal-g wal-fetch %f %p")
    refusal = not_ours("shop", kept, "back up")
    assert (refusal.what, refusal.next_step) == ("the archive of cluster shop is kept by WAL-G", "wal-g backup-push")
    assert not_ours("shop", kept, "list").next_step == "wal-g backup-list"
    assert not_ours("shop", kept, "prune").next_step == "wal-g delete"
    own = ForeignArchive("/usr/local/bin/keeper push %p", "/usr/local/bin/keeper get %f %p")
    assert keeper_of(own) == "keeper"
    assert not_ours("shop", own, "restore").next_step == "ask keeper"
