"""What is in a simulated data directory beyond its text files: control data, WAL, slots, and the databases' content."""

import copy
from dataclasses import dataclass, field
from typing import Any

from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch

SEGMENT = 16 * 1024 * 1024
CONTROL_FILE = "global/pg_control"
_FIRST_LSN = 1024 * 1024
RECORD = 104


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A WAL record; `lsn` is where it ends. Two records are the same only if they are the very same object, so that
    histories that parted can never be taken for one."""

    lsn: int
    timeline: int
    kind: str
    name: str = ""
    value: Any = None


@dataclass
class SimRole:
    superuser: bool = False
    replication: bool = False
    login: bool = True
    connection_limit: int = -1
    verifier: str | None = None


@dataclass
class SimSlot:
    """`holder` is the server process that streams through it; it is not kept over a restart."""

    kind: str = "physical"
    restart_lsn: int | None = None
    lost: bool = False
    holder: object = None


@dataclass
class Content:
    """What replaying the WAL makes: roles, acknowledged and other rows, the row of the proof."""

    roles: dict[str, SimRole] = field(default_factory=dict)
    rows: set[str] = field(default_factory=set)
    proof: str | None = None

    def apply(self, record: Record) -> None:
        if record.kind == "row":
            self.rows.add(record.name)
        elif record.kind == "proof":
            self.proof = record.value
        elif record.kind == "role":
            self.roles[record.name] = copy.copy(record.value)
        elif record.kind == "drop role":
            self.roles.pop(record.name, None)


@dataclass
class Statistics:
    """pg_stat_archiver."""

    archived: int = 0
    failed: int = 0
    last_archived: str | None = None
    last_failed: str | None = None
    last_archived_at: float | None = None
    last_failed_at: float | None = None


@dataclass
class Storage:
    """`wal` is everything since initdb; `oldest` is the position from which on it is still there to be streamed.
    `replayed` counts the records that `content` has; on a primary that is all of them. `state` and `parameters` are
    those of the control file."""

    major: int
    system_identifier: str
    parameters: dict[str, str]
    timeline: int = 1
    state: str = "shut down"
    wal: list[Record] = field(default_factory=list)
    replayed: int = 0
    oldest: int = _FIRST_LSN
    checkpoint: int = _FIRST_LSN
    archived_to: int = 0
    content: Content = field(default_factory=Content)
    slots: dict[str, SimSlot] = field(default_factory=dict)
    statistics: Statistics = field(default_factory=Statistics)
    history: list[TimelineSwitch] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Up to where there is WAL."""
        return self.wal[-1].lsn if self.wal else _FIRST_LSN

    @property
    def replay_lsn(self) -> int:
        return self.wal[self.replayed - 1].lsn if self.replayed else _FIRST_LSN

    @property
    def caught_up(self) -> bool:
        return self.replayed == len(self.wal)

    def write(self, kind: str, name: str = "", value: Any = None, size: int = RECORD) -> Record:
        """A primary writes a record, which is in force at once."""
        lsn = self.end + size
        if kind == "switch":
            lsn = (lsn // SEGMENT + 1) * SEGMENT
        record = Record(lsn, self.timeline, kind, name, value)
        self.wal.append(record)
        self.replay()
        return record

    def begin_timeline(self) -> None:
        """What a promotion does: a new timeline begins where the last record ends."""
        switches = [*self.history, TimelineSwitch(Timeline(self.timeline), Lsn(self.end))]
        self.timeline += 1
        self.write("timeline", value=tuple(switches))

    def receive(self, records: list[Record]) -> None:
        self.wal += records

    def replay(self) -> Record | None:
        """The next record that is there and not replayed yet."""
        if self.caught_up:
            return None
        record = self.wal[self.replayed]
        self.replayed += 1
        self.content.apply(record)
        self.timeline = max(self.timeline, record.timeline)
        if record.kind == "timeline":
            self.history = list(record.value)
        if record.kind == "parameters":
            self.parameters = dict(record.value)
        elif record.kind == "checkpoint":
            self.checkpoint = record.lsn
        return record

    def continues(self, other: "Storage") -> bool:
        """Whether another history goes on where this one ends: everything here is there too."""
        count = len(self.wal)
        return len(other.wal) >= count and (not count or other.wal[count - 1] is self.wal[-1])

    def recycle(self, cap: int | None, keep: int) -> None:
        """Removes WAL that neither the last checkpoint nor a slot needs; a slot that holds more than `cap` is lost."""
        limit = self.checkpoint
        for slot in self.slots.values():
            if slot.restart_lsn is None:
                continue
            if cap is not None and self.end - slot.restart_lsn > cap and slot.holder is None:
                slot.lost, slot.restart_lsn = True, None
            else:
                limit = min(limit, slot.restart_lsn)
        limit = min(limit, max(self.end - keep, 0))
        self.oldest = max(self.oldest, limit // SEGMENT * SEGMENT)

    def backup(self) -> "Storage":
        """What a base backup of this has: no slots and no statistics."""
        return Storage(
            major=self.major,
            system_identifier=self.system_identifier,
            parameters=dict(self.parameters),
            timeline=self.timeline,
            state="in production" if self.state == "in production" else "in archive recovery",
            wal=list(self.wal),
            replayed=self.replayed,
            oldest=self.checkpoint // SEGMENT * SEGMENT,
            checkpoint=self.checkpoint,
            archived_to=self.end // SEGMENT,
            content=copy.deepcopy(self.content),
            history=list(self.history),
        )


def segment_name(timeline: int, number: int) -> str:
    """The file name of the segment with this number."""
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


CONTROL_TEXT = """\
pg_control version number:            1300
Catalog version number:               {major}06281
Database system identifier:           {system_identifier}
Database cluster state:               {state}
pg_control last modified:             Tue Jan 13 12:00:00 2026
Latest checkpoint location:           {checkpoint}
Latest checkpoint's REDO location:    {checkpoint}
Latest checkpoint's TimeLineID:       {timeline}
Latest checkpoint's PrevTimeLineID:   {timeline}
Latest checkpoint's full_page_writes: on
Minimum recovery ending location:     {minimum}
Min recovery ending loc's timeline:   {minimum_timeline}
Backup start location:                0/0
End-of-backup record required:        no
wal_level setting:                    {wal_level}
wal_log_hints setting:                off
max_connections setting:              {max_connections}
max_worker_processes setting:         {max_worker_processes}
max_wal_senders setting:              {max_wal_senders}
max_prepared_xacts setting:           {max_prepared_transactions}
max_locks_per_xact setting:           {max_locks_per_transaction}
track_commit_timestamp setting:       off
Maximum data alignment:               8
Database block size:                  8192
Bytes per WAL segment:                16777216
Data page checksum version:           1
"""


def control_text(storage: Storage) -> str:
    """What pg_controldata prints, as far as somebody reads it."""
    recovering = "recovery" in storage.state
    return CONTROL_TEXT.format(
        major=storage.major,
        system_identifier=storage.system_identifier,
        state=storage.state,
        checkpoint=Lsn(storage.checkpoint - RECORD),  # where its record begins
        timeline=storage.timeline,
        minimum=Lsn(storage.replay_lsn if recovering else 0),
        minimum_timeline=storage.timeline if recovering else 0,
        **storage.parameters,
    )
