"""Whose WAL stays where restore_command is asked for a segment that the server has itself: on WAL of real servers."""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgtandem.postgres.archive_scripts import SYSTEM_FILE
from pgtandem.postgres.wal_fetch import RESTORE_SCRIPT, RESTORE_TEXT
from support.clusters import newest
from support.servers import RealServer

PAGE = 8192
ASIDE = "pg_wal/pgtandem_aside"


@dataclass(frozen=True)
class Histories:
    """Segments of one name and timeline, of a server and of a copy of it; and an earlier one."""

    name: str
    ours: bytes
    theirs: bytes
    earlier: bytes
    control: bytes

    @property
    def parts(self) -> int:
        return next(at for at, (one, other) in enumerate(zip(self.ours, self.theirs, strict=True)) if one != other)


@pytest.fixture(scope="module")
def histories() -> Iterator[Histories]:
    with RealServer(newest()) as server:
        server.initdb("--wal-segsize=1", settings={"autovacuum": "off", "wal_keep_size": "64MB"}).start()
        server.sql("CREATE TABLE t (text text)")
        server.sql("SELECT pg_switch_wal()")
        server.sql("INSERT INTO t SELECT repeat('common', n) FROM generate_series(1, 200) n")
        server.stop()
        before = server.base / "before"
        subprocess.run(["cp", "-a", server.data, before], check=True)
        written = []
        for text in ("ours", "theirs"):
            server.start()
            server.sql("INSERT INTO t SELECT repeat(%s, n) FROM generate_series(1, 200) n", text)
            name = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
            wal = server.data / "pg_wal"
            written.append((name, (wal / name).read_bytes()))
            earlier = sorted(path for path in wal.iterdir() if len(path.name) == 24)[0].read_bytes()
            server.stop(immediate=True)
            control = (server.data / "global/pg_control").read_bytes()
            shutil.rmtree(server.data)
            subprocess.run(["cp", "-a", before, server.data], check=True)
        (ours, theirs) = written
        assert ours[0] == theirs[0]
        yield Histories(ours[0], ours[1], theirs[1], earlier, control)


class Standby:
    """A data directory of a standby, as far as the script sees one."""

    def __init__(self, base: Path, histories: Histories) -> None:
        self.base, self.histories = base, histories
        self.data = base / "data"
        for made in (self.data / "pgtandem", self.data / "pg_wal", self.data / "global", base / "archive/7000"):
            made.mkdir(parents=True)
        (self.data / RESTORE_SCRIPT).write_text(RESTORE_TEXT)
        (self.data / SYSTEM_FILE).write_text("7000\n")
        (self.data / "postmaster.pid").write_text("4711\n/data\n1700000000\n")
        (self.data / "standby.signal").write_text("")
        (self.data / "global/pg_control").write_bytes(histories.control)
        self.archived = base / "archive/7000" / histories.name
        self.archived.write_bytes(histories.theirs)
        self.own = self.data / "pg_wal" / histories.name
        self.said = ""

    def is_replaced(self, own: bytes) -> bool:
        """Whether the server is given the archive's copy; it answers 1 otherwise, and then nothing is changed."""
        self.own.write_bytes(own)
        came = self.data / "pg_wal/RECOVERYXLOG"
        came.unlink(missing_ok=True)
        command = ["sh", RESTORE_SCRIPT, self.own.name, "pg_wal/RECOVERYXLOG", str(self.base / "archive")]
        done = subprocess.run(command, cwd=self.data, capture_output=True, text=True, timeout=60)
        self.said = done.stderr
        assert done.returncode in (0, 1), done
        assert came.exists() == (done.returncode == 0)
        assert self.own.read_bytes() == own
        assert not came.exists() or came.read_bytes() == self.archived.read_bytes()
        return came.exists()

    def aside(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.data / ASIDE).glob("*")]


@pytest.fixture
def standby(tmp_path: Path, histories: Histories) -> Standby:
    return Standby(tmp_path, histories)


def cut(content: bytes, at: int, behind: bytes) -> bytes:
    """What was written up to a byte, into a file that had other content before."""
    return content[:at] + behind[at:]


def test_wal_of_another_history_does_not_take_the_place_of_ours_and_that_is_told_once(
    standby: Standby, histories: Histories
) -> None:
    assert not standby.is_replaced(histories.ours)
    assert f"pg_wal/{histories.name} from byte {histories.parts} on: ours stays" in standby.said
    assert not standby.is_replaced(histories.ours)
    assert standby.said == ""
    assert standby.aside() == []


@pytest.mark.parametrize("behind", ["zeros", "an earlier segment"])
def test_one_whole_record_of_ours_is_enough_and_not_a_byte_less(
    standby: Standby, histories: Histories, behind: str
) -> None:
    old = bytes(len(histories.ours)) if behind == "zeros" else histories.earlier
    whole = record_at(histories.ours, histories.parts)
    assert standby.is_replaced(
        cut(histories.ours, whole - 1, bytes(whole - 1) + bytes([histories.ours[whole - 1] ^ 1]) + old[whole:])
    )
    assert standby.said == ""
    assert not standby.is_replaced(cut(histories.ours, whole, old))


def record_at(wal: bytes, at: int) -> int:
    """Where the first record ends that is not over at this byte, within its page."""
    place = at // PAGE * PAGE
    place += 40 if place == 0 else 24
    (info,) = struct.unpack_from("H", wal, at // PAGE * PAGE + 2)
    if info & 1:
        (rest,) = struct.unpack_from("I", wal, at // PAGE * PAGE + 16)
        place += (rest + 7) // 8 * 8
    while True:
        (total,) = struct.unpack_from("I", wal, place)
        assert total >= 24
        assert place + total <= (at // PAGE + 1) * PAGE, "it goes on on the next page"
        if place + total > at:
            return place + total
        place = (place + total + 7) // 8 * 8


@pytest.mark.parametrize("behind", ["zeros", "an earlier segment"])
def test_the_beginning_of_what_the_archive_has_gives_way_wherever_it_ends(
    standby: Standby, histories: Histories, behind: str
) -> None:
    old = bytes(len(histories.ours)) if behind == "zeros" else histories.earlier
    end = len(histories.theirs.rstrip(b"\0"))
    for at in (0, 40, PAGE, PAGE + 20, 3 * PAGE + 512, histories.parts, end - 9, end):
        assert standby.is_replaced(cut(histories.theirs, at, old)), at
        assert standby.said == ""
    assert standby.aside() == []


def test_a_segment_of_an_earlier_name_and_the_same_one_give_way(standby: Standby, histories: Histories) -> None:
    for own in (histories.earlier, histories.theirs, b"", histories.theirs[:1000], os.urandom(len(histories.ours))):
        assert standby.is_replaced(own)
        assert standby.said == ""
    assert standby.aside() == []


def test_a_torn_one_gives_way_and_is_kept_once(standby: Standby, histories: Histories) -> None:
    """The machine failed before all of it was on the disk: what the archive has is right."""
    torn = histories.theirs[: 2 * PAGE] + bytes(PAGE // 2) + histories.theirs[2 * PAGE + PAGE // 2 :]
    assert standby.is_replaced(torn)
    assert f"ours is kept in {ASIDE}" in standby.said
    assert standby.is_replaced(torn)
    assert standby.aside() == [torn]


def test_where_the_data_is_not_on_that_timeline_yet_the_archive_is_right_and_ours_is_kept(
    standby: Standby, histories: Histories
) -> None:
    """A timeline that was given up, and whose number was used again: 0043."""
    control = bytearray(histories.control)
    assert struct.unpack_from("I", control, 48) == (1,)
    struct.pack_into("I", control, 48, 7)
    (standby.data / "global/pg_control").write_bytes(control)
    assert standby.is_replaced(histories.ours)
    assert standby.aside() == [histories.ours]


def test_nothing_is_replaced_that_can_neither_be_judged_nor_kept(standby: Standby, histories: Histories) -> None:
    (standby.data / "global/pg_control").write_bytes(b"")
    (standby.data / ASIDE).mkdir()
    for number in range(16):
        (standby.data / ASIDE / f"{number}").write_bytes(b"")
    assert not standby.is_replaced(histories.ours)
    assert "could not be kept" in standby.said


def test_a_restore_takes_what_the_archive_has(standby: Standby, histories: Histories) -> None:
    (standby.data / "standby.signal").rename(standby.data / "recovery.signal")
    assert standby.is_replaced(histories.ours)
    assert standby.said == ""
