"""What the planner says in each case folder; PGTANDEM_REWRITE=1 writes every expected.txt anew."""

import ast
import os
import re
from pathlib import Path

import pytest

import pgtandem.plan

from .case import Case

CASES = Path(__file__).parent / "cases"
FOLDERS = sorted(path for path in CASES.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_plan_is_as_expected(folder: Path) -> None:
    shown, expected = Case.read(folder).shown(), folder / "expected.txt"
    if os.environ.get("PGTANDEM_REWRITE"):
        expected.write_text(shown, encoding="utf-8")
    assert expected.exists(), f"{folder.name} has no expected.txt: PGTANDEM_REWRITE=1 writes it\n{shown}"
    assert shown.splitlines() == expected.read_text(encoding="utf-8").splitlines(), "if wanted: PGTANDEM_REWRITE=1"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_refusal_says_why_and_what_to_do_next(folder: Path) -> None:
    refusal = Case.read(folder).refusal()
    if refusal is None:
        return
    assert refusal.why or (refusal.problems and all(problem.why for problem in refusal.problems))
    assert refusal.next_step or (refusal.problems and all(problem.next_step for problem in refusal.problems))


def test_every_refusal_of_the_planner_has_a_case() -> None:
    room = Path(pgtandem.plan.__file__).parent
    raised = {code for path in room.glob("*.py") for code in _codes(ast.parse(path.read_text(encoding="utf-8")))}
    shown = {
        code
        for folder in FOLDERS
        for code in re.findall(r"\[(PT-\d{4})\]", (folder / "expected.txt").read_text(encoding="utf-8"))
    }
    assert raised, "the planner's codes were not found"
    assert raised - shown == set(), "no case shows these refusals"


def _codes(tree: ast.AST) -> set[str]:
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"PT-\d{4}", node.value)
    }
