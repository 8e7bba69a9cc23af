"""What the command line may say, and what is answered when it says something else."""

from pathlib import Path

import pytest

from pgtandem.cli.arguments import parse_arguments
from pgtandem.cli.main import main
from pgtandem.cli.usage import COMMANDS
from pgtandem.cli.workbench import topology_path
from pgtandem.errors import PgtandemError


def refused(*arguments: str) -> PgtandemError:
    with pytest.raises(PgtandemError) as caught:
        parse_arguments(arguments)
    assert caught.value.code.text == "PT-1006"
    return caught.value


@pytest.mark.parametrize(
    ("line", "what", "next_step"),
    [
        ("statsu", 'there is no command "statsu"', 'did you mean "pgtandem status"?'),
        ("-f shop.toml aply", 'there is no command "aply"', 'did you mean "pgtandem apply"?'),
        ("frobnicate", 'there is no command "frobnicate"', "pgtandem --help"),
        ("help statsu", 'there is no command "statsu"', 'did you mean "pgtandem status"?'),
        ("--verison", 'pgtandem has no option "--verison"', 'did you mean "--version"?'),
        ("status --jsno", 'status has no option "--jsno"', 'did you mean "--json"?'),
        ("down --destory", 'down has no option "--destory"', 'did you mean "--destroy"?'),
        ("init --standby=2", 'init has no option "--standby"', 'did you mean "--standbys"?'),
        ("plan --frobnicate", 'plan has no option "--frobnicate"', "pgtandem plan --help"),
        ("plan demo", 'plan does not know what to do with "demo"', "pgtandem -f demo plan   (if that is"),
        ("up a b", 'up does not know what to do with "b"', "pgtandem up --help"),
        ("plan -f", "-f/--file: a value is missing", "pgtandem plan --help"),
        ("init --standbys two", '--standbys: "two" is not a whole number', "pgtandem init --help"),
        ("uri --read-only --read-write", "cannot be given together", "pgtandem uri --help"),
    ],
)
def test_wrong_usage_says_what_and_what_to_write_instead(line: str, what: str, next_step: str) -> None:
    error = refused(*line.split())
    assert what in error.what
    assert error.next_step.startswith(next_step)


@pytest.mark.parametrize("line", [["statsu"], ["plan", "--nothing"], ["init", "--standbys", "x"], ["-f"]])
def test_wrong_usage_is_not_mistaken_for_changes_pending(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 10
    assert capsys.readouterr().err.startswith("error: ")


def test_an_option_is_never_guessed_from_its_first_letters() -> None:
    refused("down", "--dest")
    refused("up", "--ye")


@pytest.mark.parametrize("line", [[], ["--help"], ["help"], *([name, "--help"] for name in COMMANDS)])
def test_help_fits_80_columns_and_ends_with_0(
    line: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "examples:\n" in out
    assert all(len(text) <= 80 for text in out.splitlines()), out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_may_be_asked_for_in_front(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", name]) == main([name, "-h"]) == 0
    first, second = capsys.readouterr().out.split("usage:")[1:]
    assert first == second


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_can_be_parsed(name: str) -> None:
    import shlex

    for example in COMMANDS[name][2]:
        text = example[example.index("pgtandem") :].rstrip(')"') if "$(" in example else example
        assert parse_arguments(shlex.split(text)[1:]).command == name


def test_the_topology_file_may_be_named_before_or_after_the_command() -> None:
    assert parse_arguments(["-f", "a.toml", "status"]).file == "a.toml"
    assert parse_arguments(["status", "-f", "a.toml"]).file == "a.toml"
    assert parse_arguments(["--file=a.toml", "status"]).file == "a.toml"
    assert parse_arguments(["-f", "status", "status"]).file == "status"


def test_a_folder_means_the_topology_file_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    expected = str(tmp_path / "demo" / "pgtandem.toml")
    assert topology_path(parse_arguments(["-f", "demo", "status"])) == expected
    assert topology_path(parse_arguments(["up", "demo"])) == expected
    assert topology_path(parse_arguments(["status"])) == str(tmp_path / "pgtandem.toml")
    with pytest.raises(PgtandemError, match=r'both a folder \("demo"\) and -f \("x.toml"\)'):
        topology_path(parse_arguments(["-f", "x.toml", "up", "demo"]))


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (["psql"], []),
        (["psql", "-c", "SELECT 1"], ["-c", "SELECT 1"]),
        (["psql", "--", "-c", "SELECT 1"], ["-c", "SELECT 1"]),
        (["psql", "--read-only", "shop", "-f", "a.sql"], ["shop", "-f", "a.sql"]),
        (["psql", "--node", "db1", "--", "--help"], ["--help"]),
        (["psql", "--node=db1", "-XAt", "--", "-x"], ["-XAt", "--", "-x"]),
        (["psql", "-U", "app", "--node", "x"], ["-U", "app", "--node", "x"]),
    ],
)
def test_what_follows_the_options_of_pgtandem_is_for_psql(line: list[str], arguments: list[str]) -> None:
    assert parse_arguments(line).arguments == arguments


def test_a_topology_file_after_psql_is_not_run_as_sql() -> None:
    assert refused("psql", "-f", "shop.toml").next_step == "pgtandem -f shop.toml psql"


def test_a_port_that_cannot_be_is_refused_before_anything_is_looked_at() -> None:
    for word in ("0", "65536", "-1", "x"):
        refused("restore", "--to", "latest", "--port", word)


def test_a_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(PgtandemError, match="was removed"):
        topology_path(parse_arguments(["status"]))
    monkeypatch.chdir(tmp_path)


def test_a_mistyped_option_before_psqls_own_is_not_given_to_psql(capsys: pytest.CaptureFixture[str]) -> None:
    for word, meant in (("--nod", "--node"), ("--readonly", "--read-only"), ("--read_write", "--read-write")):
        assert main(["psql", word, "db1"]) == 10
        assert f'did you mean "{meant}"?' in capsys.readouterr().err
    for word in ("--no-align", "--no-readline", "--no-psqlrc", "--no-password", "--echo-all", "--", "-n"):
        assert main(["-f", "/nowhere/x.toml", "psql", word]) == 10
        assert "[PT-1001]" in capsys.readouterr().err
