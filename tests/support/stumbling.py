"""Programs of which the n-th that is started takes its whole process group along: kill -9 at every step of a script."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.hosts import Hosts


def stumbling_text(program: str, real: str, cut: str, lines: str, notes: str, *, after: bool) -> str:
    """The script that stands in for a program: before the real one does anything or, with `after`, when it has done
    it, the group is killed. `cut` and `lines` are the real cut and wc, `notes` the folder of what is counted. No "--"
    for kill: dash takes it for a process, and kills nothing."""
    kill = f'kill -9 "-$({cut} -d" " -f5 /proc/$$/stat)"\necho {program} >>"{notes}/survived"'
    return (
        f'#!/bin/sh\necho {program} >>"{notes}/started"\nfatal=0\nread -r fatal <"{notes}/fatal"\n'
        f'if [ "$fatal" != 0 ] && [ "$({lines} -l <"{notes}/started")" = "$fatal" ]; then\n'
        + (f'{real} "$@"\n' if after else "")
        + f'{kill}\nfi\nexec {real} "$@"\n'
    )


class Stumbling:
    """On this machine, by PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, programs: Sequence[str], *, after: bool) -> None:
        self.notes = folder / "notes"
        self._programs = folder / "stumbling"
        self._path, self._monkeypatch = os.environ["PATH"], monkeypatch
        for path in (self.notes, self._programs):
            path.mkdir()
        for program in programs:
            real = str(shutil.which(program))
            text = stumbling_text(program, real, "cut", "wc", str(self.notes), after=after)
            (self._programs / program).write_text(text)
            (self._programs / program).chmod(0o755)

    def at(self, number: int) -> None:
        (self.notes / "started").write_text("")
        (self.notes / "fatal").write_text(f"{number}\n")
        self._monkeypatch.setenv("PATH", f"{self._programs}:{self._path}")

    def stop(self) -> None:
        (self.notes / "fatal").write_text("0\n")
        self._monkeypatch.setenv("PATH", self._path)

    def fell(self, number: int) -> bool:
        """Whether there was an n-th program."""
        return _fell(self.notes, number)


class HostStumbling:
    """On a test host, in the place of its own programs, which get another name there."""

    def __init__(self, hosts: Hosts, host: str) -> None:
        self._hosts, self._host = hosts, host
        self._notes = hosts.srv(host) / "notes"

    @contextlib.contextmanager
    def instead_of(self, programs: Sequence[str], *, after: bool) -> Iterator[None]:
        real = self._hosts.srv(self._host) / "real"
        for path in (self._notes, real):
            path.mkdir(exist_ok=True)
            path.chmod(0o777)
        for program in ("cut", "wc", *programs):
            # One that is there may still be at work for who was killed, and cannot be written then.
            if not (real / program).exists():
                shutil.copy(f"/usr/bin/{program}", real / program)
        with contextlib.ExitStack() as stack:
            for program in programs:
                text = stumbling_text(
                    program, f"/srv/real/{program}", "/srv/real/cut", "/srv/real/wc", "/srv/notes", after=after
                )
                stack.enter_context(self._hosts.another_program(self._host, program, text))
            yield

    def at(self, number: int) -> None:
        for name, text in (("started", ""), ("fatal", f"{number}\n")):
            path = self._notes / name
            path.write_text(text)
            path.chmod(0o666)

    def stop(self) -> None:
        (self._notes / "fatal").write_text("0\n")

    def fell(self, number: int) -> bool:
        return _fell(self._notes, number)


def _fell(notes: Path, number: int) -> bool:
    assert not (notes / "survived").exists(), "who was to be killed was killed"
    return len((notes / "started").read_text().split()) >= number
