"""What somebody copies out of a sentence is whole in it."""

import pytest

from cli import values
from cli.streams import Pipe
from pgtandem.cli.invocation import spelled
from pgtandem.cli.prose import wrapped
from pgtandem.cli.show_error import error_lines
from pgtandem.cli.show_findings import finding_lines
from pgtandem.cli.terminal import Paint
from pgtandem.errors import PgtandemError, Problem
from pgtandem.model.words import TO_COPY

LINE = "(crontab -l; echo '* * * * * sh /var/lib/pgtandem/archive/7712431475011756379/receiver/run') | crontab -"


def test_a_command_at_the_end_has_a_line_of_its_own_however_long() -> None:
    lines = wrapped(f"Nobody starts it when its host does. Cron can do it on 10.0.0.9:{TO_COPY}{LINE}", 50)
    assert lines == ["Nobody starts it when its host does. Cron can do", "it on 10.0.0.9:", LINE]


@pytest.mark.parametrize("columns", range(20, 60))
@pytest.mark.parametrize(
    "command",
    [
        "pgtandem apply",
        "pgtandem backup --full",
        "pgtandem rejoin NODE",
        "pgtandem drill --like db1 --into /srv/scratch",
        "pgtandem -f 'my shop.toml' archive verify",
        "pgtandem restore --to latest --timeline 3",
        'pgtandem psql --node db1 -c "SELECT pg_wal_replay_resume()"',
    ],
)
def test_no_line_ends_within_a_command(command: str, columns: int) -> None:
    lines = wrapped(f"Move its data directory away, then {command} copies it anew from the primary.", columns)
    assert any(command in line for line in lines)
    assert all(len(line) <= max(columns, len(command)) for line in lines)
    assert " ".join(lines) == f"Move its data directory away, then {command} copies it anew from the primary."


@pytest.mark.parametrize("columns", range(30, 60))
def test_what_an_error_says_why_breaks_no_command_and_calls_it_as_it_must_be_called(columns: int) -> None:
    problem = Problem("db2", "db2 is behind", "It has to be copied: pgtandem rejoin db2 --copy does that, once.")
    error = PgtandemError("PT-3055", "no", why="Somebody must run pgtandem archive verify before.", problems=(problem,))
    lines = error_lines(error, "/srv/shop/pgtandem.toml", Paint(Pipe()), columns)
    assert any("pgtandem -f /srv/shop/pgtandem.toml archive verify" in line for line in lines)
    assert any("pgtandem -f /srv/shop/pgtandem.toml rejoin" in line for line in lines)


def test_a_program_that_is_called_by_a_long_path_makes_no_line_of_doctor_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["/srv/tools/pgtandem/bin/pgtandem", "doctor"])
    look, findings = values.DIAGNOSED
    file = "/srv/shop/pgtandem.toml"
    lines = finding_lines(look, findings, Paint(Pipe()), 80, lambda text: spelled(text, file))
    assert any(f"/srv/tools/pgtandem/bin/pgtandem -f {file} apply" in line for line in lines)
    (long,) = [line for line in lines if len(line) > 80]
    start = f'  fix:    /srv/tools/pgtandem/bin/pgtandem -f {file} psql --node db1 -c "'
    assert long.startswith(start), "only what cannot be shorter"
    assert long.endswith('"')
