"""The receiver of the archive's stream in the simulated world: what its scripts do, and what pg_receivewal does.

What it has received lies in files of the archive, each with the records of its segment; the process is a `SimReceiver`.
"""

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pgtandem.model.lsn import TimelineSwitch
from pgtandem.model.names import STREAM_NAME
from pgtandem.postgres.conninfo import parse_conninfo
from pgtandem.postgres.segments import segment_number
from pgtandem.postgres.stream_scripts import PASSFILE, RECEIVER, SOURCE, STARTED, STREAMED, WANTED
from pgtandem.testing.configuration import password_for
from pgtandem.testing.files import SimFile, SimFolder
from pgtandem.testing.servers import SimServer
from pgtandem.testing.storage import SEGMENT, Record, Storage, segment_name

if TYPE_CHECKING:
    from pgtandem.testing.network import SimMachine, SimNetwork

_PAUSE_SECONDS = 1.0


class SimReceiver:
    """One run of `receiver/run` on a machine. To its upstream it is a standby that replays nothing."""

    told_replayed = 0
    encrypted = False

    def __init__(self, network: "SimNetwork", machine: "SimMachine", folder: str) -> None:
        self.network, self.machine, self.folder = network, machine, folder
        self.pid = self.sender_pid = network.new_pid()
        self.frozen = False
        self.upstream: SimServer | None = None
        self.timeline = 0
        #: How far it has received, and how far its upstream knows that.
        self.position = self.told = 0
        self.heard_at = self.next_try = 0.0
        source = machine.files.read(posixpath.join(folder, RECEIVER, SOURCE)) or b""
        self._write(STARTED, source)
        self.conninfo = source.decode().partition("\n")[2].strip()

    # --- as a server sees it

    @property
    def alive(self) -> bool:
        return self in self.network.receivers

    def source(self, name: str) -> str:
        return self.conninfo if name == "primary_conninfo" else ""

    def hang_up(self) -> None:
        slot = self.upstream.storage.slots.get(STREAM_NAME) if self.upstream is not None else None
        if slot is not None and slot.holder is self:
            slot.holder = None
        self.upstream = None

    def kill(self) -> None:
        """kill -9 of both its processes, or the end of its host."""
        self.hang_up()
        self.network.receivers.remove(self)

    # --- what it does

    def go_on(self) -> None:
        now = self.network.clock.monotonic()
        if self.frozen:
            return
        if self.machine.files.find(posixpath.join(self.folder, RECEIVER)) is None:
            self.kill()
            return
        if self.upstream is None and now >= self.next_try:
            self.next_try = now + _PAUSE_SECONDS
            self._write("said", self._connect().encode())
        if self.upstream is None:
            return
        here, there = self.machine.url, self.upstream.machine.url
        if self.network.reaches(here, there):
            self.heard_at = now
        elif now - self.heard_at > self.network.silent_seconds:
            self.hang_up()
            return
        if self.upstream.frozen:
            return
        if self.network.carries(there, here):
            self._receive(self.upstream.storage)
        if self.network.carries(here, there):
            self.told = self.position
            slot = self.upstream.storage.slots.get(STREAM_NAME)
            if slot is not None and slot.holder is self:
                slot.restart_lsn = max(slot.restart_lsn or 0, self.position)

    def _connect(self) -> str:
        """What went wrong, "" where it streams from now on."""
        told, said = parse_conninfo(self.conninfo), "no server accepts writes"
        passfile = (self.machine.files.read(posixpath.join(self.folder, RECEIVER, PASSFILE)) or b"").decode()
        for host, port in zip(told["host"].split(","), told["port"].split(","), strict=True):
            server = self.network.listener(self.machine, host, int(port))
            if server is None or server.frozen or not self.network.reaches(self.machine.url, server.machine.url):
                continue
            password = password_for(passfile, host, int(port), told["user"])
            said = self.network.refusal(server, self.machine, "replication", told["user"], password) or said
            if server.is_primary and said == "no server accepts writes":
                return self._start(server)
        return f"pg_receivewal: error: {said}\n"

    def _start(self, server: SimServer) -> str:
        storage = server.storage
        slot = storage.slots.get(STREAM_NAME)
        if slot is None:
            return f'pg_receivewal: error: replication slot "{STREAM_NAME}" does not exist\n'
        if slot.lost or slot.restart_lsn is None or slot.holder is not None:
            return f'pg_receivewal: error: replication slot "{STREAM_NAME}" is active or lost\n'
        timeline, number = self._goes_on(storage, slot.restart_lsn)
        switch = _left(storage.history, timeline)
        if timeline > storage.timeline or (switch is not None and number * SEGMENT > switch):
            return f"pg_receivewal: error: {number} on timeline {timeline} is not in this server's history\n"
        if number < storage.oldest // SEGMENT:
            name = segment_name(timeline, number)
            return f"pg_receivewal: error: requested WAL segment {name} has already been removed\n"
        self.upstream, slot.holder, self.timeline = server, self, timeline
        self.position = self.told = number * SEGMENT
        self.heard_at = self.network.clock.monotonic()
        return ""

    def _goes_on(self, storage: Storage, restart_lsn: int) -> tuple[int, int]:
        """The timeline and the segment with which pg_receivewal goes on: it goes by the names of files."""
        found = []
        for name in streamed(self.machine, self.folder).entries:
            plain = name.removesuffix(".partial")
            number = segment_number(plain, SEGMENT)
            if number is not None:
                found.append((number, int(name[:8], 16), name == plain))
        if not found:
            return storage.timeline, restart_lsn // SEGMENT
        number, timeline, whole = max(found)
        return timeline, number + whole

    def _receive(self, storage: Storage) -> None:
        for record in _after(storage.wal, self.position):
            self._store(storage, record)
            self.position = record.lsn
        while self.timeline < storage.timeline and self.position >= (_left(storage.history, self.timeline) or 0):
            self.timeline += 1
            streamed(self.machine, self.folder).put(f"{self.timeline:08X}.history", SimFile(b"history"))

    def _store(self, storage: Storage, record: Record) -> None:
        place = streamed(self.machine, self.folder)
        number = (record.lsn - 1) // SEGMENT
        name = segment_name(record.timeline, number)
        file = place.file(f"{name}.partial")
        if file is None or not isinstance(file.payload, Piece):
            before = [one for one in storage.wal if number * SEGMENT < one.lsn < record.lsn]
            file = place.put(f"{name}.partial", SimFile(payload=Piece(number, before)))
        assert isinstance(file.payload, Piece)
        file.payload.take(record)
        for other in list(place.entries):
            plain = other.removesuffix(".partial")
            at = segment_number(plain, SEGMENT) if plain != other else None
            if (
                at is not None
                and int(other[:8], 16) == record.timeline
                and (at < number or record.lsn == (at + 1) * SEGMENT)
            ):
                place.entries[plain] = place.entries.pop(other)

    def _write(self, name: str, content: bytes) -> None:
        self.machine.files.write(posixpath.join(self.folder, RECEIVER, name), content)


class Piece:
    """The records that end in one segment, as far as they came."""

    def __init__(self, number: int, records: list[Record]) -> None:
        self.number, self.records = number, records

    def take(self, record: Record) -> None:
        """What comes again takes the place of what was there."""
        self.records = [*(one for one in self.records if one.lsn < record.lsn), record]

    @property
    def size_bytes(self) -> int:
        return self.records[-1].lsn - self.number * SEGMENT if self.records else 0


def streamed(machine: "SimMachine", folder: str) -> SimFolder:
    return machine.files.make_directory(posixpath.join(folder, STREAMED))


def pieces(folder: SimFolder) -> Iterator[tuple[str, Piece]]:
    """What was streamed, by the names of the files."""
    for name, file in folder.entries.items():
        if isinstance(file, SimFile) and isinstance(file.payload, Piece):
            yield name, file.payload


def summed_up(records: list[Record], start: int, size: int) -> str:
    """A checksum of the first so many bytes of a segment; "" where there is less."""
    inside = [record for record in records if start < record.lsn <= start + size]
    if not inside or inside[-1].lsn != start + size:
        return ""
    return " ".join(str(id(record)) for record in inside)


def wants(machine: "SimMachine", folder: str) -> bool:
    return machine.files.find(posixpath.join(folder, RECEIVER, WANTED)) is not None


def _after(wal: list[Record], position: int) -> list[Record]:
    at = len(wal)
    while at and wal[at - 1].lsn > position:
        at -= 1
    return wal[at:]


def _left(history: list[TimelineSwitch], timeline: int) -> int | None:
    """Where a server's history left a timeline, None where it is on it."""
    return next((switch.at.position for switch in history if switch.timeline == timeline), None)
