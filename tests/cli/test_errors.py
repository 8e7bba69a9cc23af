"""How a failure reads: what happened with its code, every problem, why, what to do next."""

from pathlib import Path

import pytest

from cli.streams import Pipe, Terminal
from pgtandem.cli.invocation import spelled
from pgtandem.cli.show_error import error_lines
from pgtandem.cli.terminal import Paint
from pgtandem.errors import PgtandemError, Problem

LOST_SLOT = PgtandemError(
    "PT-3010",
    "slot pgtandem_db2 on db1 no longer holds the WAL that db2 needs",
    why="It passed its cap (max_slot_wal_keep_size) while the standby was away, and there is no WAL archive.",
    next_step="stop db2, move /srv/shop/data/db2 away and run pgtandem apply: it is copied anew",
)
MANY = PgtandemError(
    "PT-1004",
    "shop.toml has 2 problems",
    problems=(
        Problem("nodes.db2.port", "port 5432 belongs to node db1 on the same host", next_step="port = 5433"),
        Problem(
            "replication.durability",
            'durability "off" never waits for a standby, yet synchronous is "any 1"',
            "The standby would be named as synchronous, but no commit would wait for it, and a failover could lose "
            "commits that were acknowledged.",
            'durability = "on", or synchronous = "none"',
        ),
    ),
)


def piped(error: PgtandemError) -> list[str]:
    return error_lines(error, None, Paint(Pipe()), None)


def test_an_error_says_what_why_next_and_its_code() -> None:
    assert piped(LOST_SLOT) == [
        "error: slot pgtandem_db2 on db1 no longer holds the WAL that db2 needs   [PT-3010]",
        "why:   It passed its cap (max_slot_wal_keep_size) while the standby was away, and there is no WAL archive.",
        "next:  stop db2, move /srv/shop/data/db2 away and run pgtandem apply: it is copied anew",
    ]


def test_an_error_without_reason_and_advice_is_one_line() -> None:
    assert piped(PgtandemError("PT-1002", "could not read shop.toml")) == [
        "error: could not read shop.toml   [PT-1002]"
    ]


def test_every_problem_is_listed_with_its_place_its_reason_and_what_to_write() -> None:
    assert piped(MANY) == [
        "error: shop.toml has 2 problems   [PT-1004]",
        "  - nodes.db2.port: port 5432 belongs to node db1 on the same host",
        "    -> port = 5433",
        '  - replication.durability: durability "off" never waits for a standby, yet synchronous is "any 1"',
        "    The standby would be named as synchronous, but no commit would wait for it, and a failover could lose "
        "commits that were acknowledged.",
        '    -> durability = "on", or synchronous = "none"',
    ]


def test_a_problem_that_names_its_place_itself_does_not_name_it_twice() -> None:
    error = PgtandemError("PT-3008", "cannot tell", problems=(Problem("db2", "could not look at db2"),))
    assert piped(error)[1] == "  - could not look at db2"


def test_prose_is_wrapped_on_a_terminal_and_what_is_to_be_copied_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = error_lines(LOST_SLOT, None, Paint(Terminal()), 80)
    assert all(len(line) <= 80 for line in lines if not line.startswith("next:"))
    assert lines[-1] == piped(LOST_SLOT)[-1]
    assert " ".join(" ".join(lines).split()) == " ".join(" ".join(piped(LOST_SLOT)).split())


def test_several_lines_of_a_log_stand_below_each_other() -> None:
    error = PgtandemError("PT-4004", "could not start db1", why="Its log says:\nFATAL: no\n\tHINT: yes")
    assert piped(error)[1:] == ["why:   Its log says:", "       FATAL: no", "           HINT: yes"]


def test_names_and_logs_cannot_move_the_cursor_or_change_colours() -> None:
    error = PgtandemError(
        "PT-4004",
        "could not start \x1b[31mdb1\nerror: all is lost",
        why="\x1b]0;title\x07\rgone",
        next_step="rm \udcff",
        problems=(Problem("a\nb", "c\rd"),),
    )
    for line in piped(error):
        assert line.isprintable(), line
    assert piped(error)[0] == r"error: could not start \x1b[31mdb1\nerror: all is lost   [PT-4004]"


def test_an_interruption_is_not_called_an_error() -> None:
    assert piped(PgtandemError("PT-4009", "nothing was changed"))[0] == "interrupted: nothing was changed   [PT-4009]"


def test_commands_in_an_advice_can_be_copied_for_this_topology_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["/usr/bin/pgtandem"])
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/pgtandem")
    advice = "pgtandem init   (writes one)   or   pgtandem up"
    assert spelled(advice, str(tmp_path / "pgtandem.toml")) == advice
    assert spelled(advice, str(tmp_path / "shop.toml")) == (
        "pgtandem -f shop.toml init   (writes one)   or   pgtandem -f shop.toml up"
    )
    assert spelled("pgtandem apply", str(tmp_path / "my shop.toml")) == "pgtandem -f 'my shop.toml' apply"
    assert spelled("edit pgtandem.toml", str(tmp_path / "shop.toml")) == "edit pgtandem.toml"


def test_a_program_that_is_not_on_the_path_is_named_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv" / "bin" / "pgtandem")])
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert spelled("pgtandem status", str(tmp_path / "pgtandem.toml")) == ".venv/bin/pgtandem status"
