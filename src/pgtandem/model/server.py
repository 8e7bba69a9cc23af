"""What a running server says of itself over SQL, at one moment."""

from collections.abc import Mapping

from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch
from pgtandem.model.value import dataclass, field


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of pg_settings: the value in its base unit, where it comes from, whether a restart is pending."""

    value: str
    source: str = "default"
    source_file: str | None = None
    pending_restart: bool = False


@dataclass(frozen=True, slots=True)
class HbaRule:
    """One line of pg_hba_file_rules; `error` is not None for a line that the server cannot read."""

    line: int
    kind: str
    databases: tuple[str, ...]
    users: tuple[str, ...]
    address: str | None
    method: str
    error: str | None = None

    @property
    def broken(self) -> bool:
        """Whether the server could not start with it. A record for TLS while TLS is off only matches nobody."""
        return self.error is not None and "cannot match because" not in self.error


@dataclass(frozen=True, slots=True)
class Role:
    """A role that pgtandem cares for: its own, the superuser, and every other that may replicate. `password_matches` is
    None where it could not be checked."""

    name: str
    superuser: bool
    replication: bool
    login: bool
    connection_limit: int
    password_kind: str
    password_matches: bool | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One row of pg_replication_slots. `wal_status` is None before 13; `held_bytes` is what it keeps on disk."""

    name: str
    kind: str
    active: bool
    active_pid: int | None
    restart_lsn: Lsn | None
    wal_status: str | None = None
    held_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """One row of pg_stat_replication, as the upstream sees a downstream. Lags are in seconds, None when idle."""

    application_name: str
    pid: int
    client_address: str | None
    state: str
    sync_state: str
    sent_lsn: Lsn | None
    write_lsn: Lsn | None
    flush_lsn: Lsn | None
    replay_lsn: Lsn | None
    encrypted: bool | None = None
    write_lag_seconds: float | None = None
    flush_lag_seconds: float | None = None
    replay_lag_seconds: float | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Receiver:
    """The row of pg_stat_wal_receiver, as a standby sees its upstream."""

    status: str
    sender_host: str | None
    sender_port: int | None
    slot: str | None
    received_timeline: Timeline | None


@dataclass(frozen=True, slots=True)
class ReplayHold:
    """Who holds replay up on a standby right now: a session's process, user and application, how old its transaction is
    (seconds), and what replay waits for: "snapshot" (rows that it may still read), "lock" or "pin"."""

    pid: int
    user: str
    application_name: str
    transaction_seconds: float
    waits_for: str


#: After how long without an end the command is taken for one that fails without being counted; and where the archiver
#: itself lives since then (as far as the server tells, from 14 on), for one that hangs: a batch over a slow line takes
#: minutes.
_STUCK_SECONDS, _HANGING_SECONDS = 180.0, 1800.0


@dataclass(frozen=True, slots=True)
class Archiver:
    """pg_stat_archiver, and how many segments wait in archive_status. `waiting_wal` is the first of them, and
    `waiting_age_seconds` for how long a primary that runs has had it there. `last_archived_ready` is when the last one
    that was archived was finished, in whole seconds since 1970 by the server's clock; None where that is gone.
    `running_seconds` is for how long its process has lived: None where there is none, or nobody tells (up to 13)."""

    archived_count: int
    failed_count: int
    last_archived_wal: str | None
    last_failed_wal: str | None
    last_archived_age_seconds: float | None
    last_failed_age_seconds: float | None
    waiting_segments: int | None = None
    waiting_wal: str | None = None
    waiting_age_seconds: float | None = None
    last_archived_ready: float | None = None
    running_seconds: float | None = None

    @property
    def stuck(self) -> bool:
        """Whether a segment waits, and nothing was archived for minutes nor counted as failed. A command that ends by a
        signal or above 125 ("not found" is 127) ends the archiver with it, and is not counted."""
        ages = (self.waiting_age_seconds, self.last_archived_age_seconds, self.last_failed_age_seconds)
        least = _HANGING_SECONDS if self.works else _STUCK_SECONDS
        return self.waiting_age_seconds is not None and all(age is None or age > least for age in ages)

    @property
    def works(self) -> bool:
        """Whether its process has not ended for so long that its command is at work, or hangs."""
        return self.running_seconds is not None and self.running_seconds > _STUCK_SECONDS

    @property
    def fails_at(self) -> str | None:
        """The segment that it cannot archive."""
        return self.waiting_wal if self.stuck else self.last_failed_wal

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed: a failure that is younger than the last success, if there was one; or it is
        stuck."""
        if self.stuck:
            return True
        if self.last_failed_age_seconds is None:
            return False
        return self.last_archived_age_seconds is None or self.last_failed_age_seconds < self.last_archived_age_seconds


@dataclass(frozen=True, slots=True)
class Server:
    """What a running server says of itself over SQL. `settings` are by their names in lower case. `recovery_unread`
    says that recovery.conf (up to 11) was written after the server started: it is read at a start only. `delaying`
    says that replay waits right now for recovery_min_apply_delay. `libc_locales`
    are the locales of its databases whose order of texts comes from the C library. `oldest_lsn` is where the WAL begins
    that it still has. `history` are the timelines that a primary's own one came from, oldest first. `redo_lsn` is where
    the last checkpoint began, and `redo_age_seconds` how long ago. `summarized` is where its summaries of WAL begin,
    timeline by timeline; None where it makes none. `receiver_pid` is the process on a standby that receives WAL, or
    connects to do so: then there is no `receiver` yet."""

    version_number: int
    system_identifier: str
    in_recovery: bool
    timeline: Timeline
    current_lsn: Lsn | None = None
    receive_lsn: Lsn | None = None
    replay_lsn: Lsn | None = None
    replay_age_seconds: float | None = None
    replay_paused: bool = False
    delaying: bool = False
    last_commit_age_seconds: float | None = None
    recovery_unread: bool = False
    oldest_lsn: Lsn | None = None
    size_bytes: int = 0
    tablespace_bytes: Mapping[str, int] = field(default_factory=dict)
    libc_locales: tuple[str, ...] = ()
    settings: Mapping[str, Setting] = field(default_factory=dict)
    hba: tuple[HbaRule, ...] = ()
    roles: Mapping[str, Role] = field(default_factory=dict)
    slots: Mapping[str, Slot] = field(default_factory=dict)
    senders: tuple[Sender, ...] = ()
    receiver: Receiver | None = None
    receiver_pid: int | None = None
    archiver: Archiver | None = None
    proof_token: str | None = None
    history: tuple[TimelineSwitch, ...] = ()
    redo_lsn: Lsn | None = None
    redo_age_seconds: float | None = None
    replay_hold: ReplayHold | None = None
    summarized: Mapping[Timeline, Lsn] | None = None

    @property
    def major(self) -> int:
        return self.version_number // 10000
