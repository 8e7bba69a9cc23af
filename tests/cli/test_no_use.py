"""What was asked for and would not be done is refused: nobody must believe that it was."""

from pathlib import Path

import pytest

from pgtandem.cli.main import main

_FILE = """
[cluster]
name = "shop"
postgresql = 18

[nodes.db1]
port = 5432
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pgtandem.toml").write_text(_FILE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("archive --yes", "--yes"),
        ("archive list -y", "--yes"),
        ("archive verify --yes", "--yes"),
        ("archive prune --json", "--json"),
        ("backup list --yes", "--yes"),
        ("backup verify --yes", "--yes"),
        ("backup list --full", "that option"),
        ("restore --yes", "--yes"),
        ("restore --promote", "--promote"),
        ("doctor explain --dsn postgres://db1", "--dsn"),
        ("doctor explain ARC01 --format sarif", "--format sarif"),
        ("doctor --json --format junit", "--format junit"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(line: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 10
    said = capsys.readouterr()
    assert option in said.out + said.err
    assert "PT-1006" in said.out + said.err


@pytest.mark.parametrize(
    "line", ["archive", "archive verify", "archive prune", "backup", "backup list", "backup verify", "restore", "drill"]
)
def test_without_an_archive_every_command_says_so_in_the_same_words(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 12
    error = capsys.readouterr().err.splitlines()
    assert error[0] == "error: cluster shop has no WAL archive   [PT-3051]"
    assert error[1:] == [
        "why:   Backups, and the WAL that brings them to a moment, lie in the archive.",
        'next:  write [archive] with directory = "..." into the topology file, then pgtandem plan',
    ]
