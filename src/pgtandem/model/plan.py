"""Plan and Step: what is to be done, in which order, why, and what must hold before and after."""

from enum import Enum
from typing import TYPE_CHECKING

from pgtandem.model.candidates import Candidate
from pgtandem.model.names import NodeName
from pgtandem.model.value import dataclass, field

if TYPE_CHECKING:
    from pgtandem.model.restore import RestoreOrder


class Risk(Enum):
    """What a step means for those who use the server, from nothing to the most."""

    READ = "read"
    CREATE = "create"
    RELOAD = "reload"
    RESTART = "restart"
    STOP = "stop"
    REPLACE = "replace data"
    REMOVE = "remove data"


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that must hold before or after a step; judged by `pgtandem.plan.conditions`.

    `kind` names the test, `node` whom it is about, `argument` what it compares with.
    """

    kind: str
    node: NodeName
    argument: str = ""

    def __str__(self) -> str:
        words = f"{self.node}: {self.kind.replace('_', ' ')}"
        return f"{words} {self.argument}" if self.argument else words


class StepKind(Enum):
    """The kinds of steps; each has one effect in the room `apply`."""

    CREATE_ACCOUNT = "create_account"
    COPY_PROGRAMS = "copy_programs"
    REMOVE_LEFTOVERS = "remove_leftovers"
    CREATE_DATA_DIRECTORY = "create_data_directory"
    WRITE_FILES = "write_files"
    WRITE_CERTIFICATE = "write_certificate"
    REMOVE_CERTIFICATE = "remove_certificate"
    RESET_SETTINGS = "reset_settings"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RELOAD = "reload"
    CREATE_ROLE = "create_role"
    NEW_PASSWORDS = "new_passwords"
    ROTATE_PASSWORDS = "rotate_passwords"
    RECONNECT = "reconnect"
    FORGET_PASSWORDS = "forget_passwords"
    DROP_ROLE = "drop_role"
    CREATE_SLOT = "create_slot"
    DROP_SLOT = "drop_slot"
    CREATE_ARCHIVE = "create_archive"
    CHECK_ARCHIVE = "check_archive"
    ARCHIVE_NEWER = "archive_newer"
    START_STREAM = "start_stream"
    STOP_STREAM = "stop_stream"
    REMOVE_STREAM = "remove_stream"
    KEEP_RECEIVER = "keep_receiver"
    FORGET_RECEIVER = "forget_receiver"
    BASE_BACKUP = "base_backup"
    REPLACE_DATA = "replace_data"
    RENEW_DATA = "renew_data"
    FINISH_MERGE = "finish_merge"
    REMOVE_REPLACED = "remove_replaced"
    PROVE_REPLICATION = "prove_replication"
    REGISTER = "register"
    UNREGISTER = "unregister"
    CHECKPOINT = "checkpoint"
    FENCE = "fence"
    UNFENCE = "unfence"
    SETTLE_WAL = "settle_wal"
    CONFIRM_RECEIVED = "confirm_received"
    CONFIRM_STREAMED = "confirm_streamed"
    PROMOTE = "promote"
    HAND_IN_WAL = "hand_in_wal"
    FORGET_PROMOTION = "forget_promotion"
    TELL_LOSS = "tell_loss"
    END_SERVER = "end_server"
    KEEP_WAL = "keep_wal"
    ARCHIVE_REST = "archive_rest"
    SET_TIMELINES_ASIDE = "set_timelines_aside"
    REWIND = "rewind"
    REMOVE_DATA_DIRECTORY = "remove_data_directory"
    REMOVE_ARCHIVE = "remove_archive"
    OPEN_WAL_WAYS = "open_wal_ways"
    REVOKE_KEYS = "revoke_keys"
    FORGET_NODE = "forget_node"
    TAKE_BACKUP = "take_backup"
    CHECK_BACKUP_WAL = "check_backup_wal"
    VERIFY_BACKUP = "verify_backup"
    KEEP_BACKUP = "keep_backup"
    REMOVE_BACKUP = "remove_backup"
    PRUNE_WAL = "prune_wal"
    RESTORE_DATA = "restore_data"
    RECOVER = "recover"
    END_RECOVERY = "end_recovery"
    SETTLE_RESTORED = "settle_restored"
    PUT_BACK = "put_back"
    FORGET_RESTORE = "forget_restore"
    CHECK_RESTORED = "check_restored"
    NOTE_DRILL = "note_drill"
    REMOVE_RESTORED = "remove_restored"
    ADOPT = "adopt"
    SET_PASSWORD = "set_password"
    DISABLE_ROLES = "disable_roles"
    CHANGE_RECORDS = "change_records"
    PAUSE = "pause"
    REPOINT = "repoint"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """The files of pgtandem in one data directory, by relative path, and the two owned parts of shared files.

    `standby` says whether standby.signal must be there. The passfile is not among `texts`: it holds secrets, so it is
    made at the moment of writing, with one line per node in `passfile_nodes` ((address, port)). `system_identifier` is
    that of the data directory, "" where it is read when the files are written.
    """

    texts: tuple[tuple[str, str], ...]
    hba_block: str
    standby: bool
    passfile_nodes: tuple[tuple[str, int], ...]
    system_identifier: str = ""

    def text(self, path: str) -> str:
        """Raises KeyError for a path that is not among the texts."""
        return dict(self.texts)[path]


@dataclass(frozen=True, slots=True)
class Step:
    """One change, or one proof.

    `id` is unique in its plan and stays the same when the plan is made again ("db2.start"). `needs` are ids of steps
    that must be done before, `after` of steps that it only lets go first: where one of those fails, and is `lone`, this
    one goes on. `expects` must hold before the effect, `proves` after it. `undo` says how to go back.
    `node` may be the name of a PgBouncer. With `lone` the other steps go on where this one fails, and that is told at
    the end. `within_seconds` is how long after the plan's first PAUSE began it must be done, 0 where nobody waits.
    The remaining fields are what some kinds need: `programs` the folder of the PostgreSQL programs, `files` what is
    written, `names` the slots, settings or paths that the step is about, `upstream` whom a standby copies from,
    `service` the systemd unit through which a server is started and stopped, `places` folders outside the data
    directory that are filled or emptied with it, `restore` what is restored.
    """

    id: str
    kind: StepKind
    node: NodeName
    what: str
    why: str
    risk: Risk
    needs: tuple[str, ...] = ()
    expects: tuple[Condition, ...] = ()
    proves: tuple[Condition, ...] = ()
    undo: str = ""
    programs: str = ""
    files: NodeFiles | None = None
    names: tuple[str, ...] = ()
    upstream: NodeName | None = None
    service: str = ""
    places: tuple[str, ...] = ()
    restore: "RestoreOrder | None" = None
    lone: bool = False
    within_seconds: float = 0.0
    after: tuple[str, ...] = ()

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The ids of all steps that have ended before."""
        return (*self.needs, *self.after)


@dataclass(frozen=True, slots=True)
class Consequence:
    """What one failure would mean for a topology: do writes stop, and what can be lost. `several` is a failure of
    several nodes at once."""

    failure: str
    writes: str
    loss: str
    several: bool = False


#: How a note begins that is shown even where nothing is left to do.
WARNING = "Warning: "


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered steps; empty means converged.

    `primary` is who is, or becomes, the primary. `notes` are things that the reader should know. `candidates` are those
    who could become the primary where that was chosen. With `look_again` some facts can only be seen after these steps:
    apply plans again afterwards.
    """

    primary: NodeName | None
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    consequences: tuple[Consequence, ...] = field(default=(), compare=False)
    look_again: bool = False
    candidates: tuple[Candidate, ...] = field(default=(), compare=False)

    @property
    def empty(self) -> bool:
        return not self.steps

    @property
    def highest_risk(self) -> Risk:
        order = list(Risk)
        return max((step.risk for step in self.steps), key=order.index, default=Risk.READ)
