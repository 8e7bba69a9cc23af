"""Whatever goes wrong inside a command: words and an exit code, never a traceback."""

import argparse
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pgtandem.cli import terminal
from pgtandem.cli.commands import status
from pgtandem.cli.main import main
from pgtandem.errors import CODES, PgtandemError


def fail_with(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    def run(options: argparse.Namespace) -> int:
        raise failure

    monkeypatch.setattr(status, "run", run)


@pytest.fixture(autouse=True)
def temporary_files_go_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


DEFECTS = [
    ZeroDivisionError("division by zero"),
    KeyError("db9"),
    RecursionError("too deep"),
    MemoryError(),
    OSError(5, "Input/output error"),
    UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range"),
    ExceptionGroup("several", [ValueError("one"), TypeError("two")]),
    GeneratorExit(),
    BaseException("not even an Exception"),
]


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: type(defect).__name__)
def test_a_defect_is_told_in_words_and_written_to_a_private_file(
    defect: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fail_with(monkeypatch, defect)
    assert main(["status"]) == 19
    said = capsys.readouterr().err
    assert said.startswith(f"error: pgtandem has a defect: {type(defect).__name__}   [PT-9001]\n")
    assert "Traceback" not in said
    (file,) = tmp_path.glob("pgtandem-defect-*.txt")
    assert str(file) in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    report = file.read_text()
    assert re.match(r"pgtandem \S+, Python 3\.", report)
    assert "Traceback" in report


def test_a_defect_is_told_even_where_no_file_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    fail_with(monkeypatch, ValueError("x"))
    assert main(["status"]) == 19
    said = capsys.readouterr().err
    assert "[PT-9001]" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.text)
def test_the_exit_code_is_that_of_the_family(
    code: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = str(code.text)  # type: ignore[attr-defined]
    fail_with(monkeypatch, PgtandemError(text, "could not do it"))
    expected = {"1": 10, "2": 11, "3": 12, "4": 13, "5": 14, "6": 15, "9": 19}[text[3]]
    assert main(["status"]) == (130 if text == "PT-4009" else expected)
    assert f"[{text}]" in capsys.readouterr().err


def test_with_json_the_error_is_json_on_the_output_and_words_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, PgtandemError("PT-3007", "port 5432 of db1 is in use", next_step="another port"))
    assert main(["status", "--json"]) == 12
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "PT-3007"
    assert err.startswith("error: port 5432 of db1 is in use")


@pytest.mark.parametrize("command", ["up", "apply", "down"])
def test_ctrl_c_in_a_command_that_changes_something_says_how_to_go_on(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"pgtandem.cli.commands.{command}.run", run)
    assert main([command]) == 130
    said = capsys.readouterr().err
    assert said.startswith("interrupted: what was done so far stays   [PT-4009]\nnext:  run the same command again")


def test_ctrl_c_in_a_command_that_looks_says_that_nothing_was_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert main(["status"]) == 130
    assert capsys.readouterr().err == "interrupted: nothing was changed   [PT-4009]\n"


def pgtandem(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from pgtandem.cli.main import entry; entry()", *arguments]
    return subprocess.run(command, capture_output="stdout" not in options, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("flush", [True, False])
def test_a_closed_pipe_is_no_error_whenever_it_is_noticed(flush: bool) -> None:
    """Python forgets what it could not write: a second flush alone said nothing, and a defect was reported."""
    command = (
        "from pgtandem.cli.commands import status\n"
        f"status.run = lambda options: print('line', flush={flush}) or 0\n"
        "import sys; sys.argv[1:] = ['status']\n"
        "from pgtandem.cli.main import entry; entry()\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", command], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_under_the_output_is_told(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = pgtandem("init", str(tmp_path), stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 10
    assert done.stderr == (
        "error: could not write the output   [PT-1009]\nwhy:   No space left on device.\n"
        "next:  make room on that disk, then run the same command again\n"
    )


def test_closed_streams_and_a_poor_encoding_are_no_defect(tmp_path: Path) -> None:
    def closed() -> None:
        for number in (0, 1, 2):
            os.close(number)

    assert pgtandem("status", cwd=tmp_path, preexec_fn=closed).returncode == 10
    folder = tmp_path / "Größe"
    folder.mkdir()
    poor = {**os.environ, "PYTHONIOENCODING": "ascii"}
    assert r"Gr\xf6\xdfe" in pgtandem("status", cwd=folder, env=poor).stderr


def test_only_a_clear_yes_is_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, meant in (("y", True), (" YES ", True), ("", False), ("n", False), ("yeah", False), ("да", False)):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        assert terminal.ask("Go ahead?") is meant


def test_the_end_of_input_is_a_no_and_ctrl_c_at_the_question_is_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(failure: BaseException) -> None:
        def wait(question: str) -> str:
            raise failure

        monkeypatch.setattr("builtins.input", wait)

    answer(EOFError())
    assert terminal.ask("Go ahead?") is False
    answer(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"))
    assert terminal.ask("Go ahead?") is False
    answer(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        terminal.ask("Go ahead?")
