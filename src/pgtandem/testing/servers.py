"""Simulated PostgreSQL servers. A `SimServer` is one run of one server process; what lasts is in its data directory."""

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from pgtandem.model.server import HbaRule, Setting
from pgtandem.postgres.conf import RECOVERY_FILE, parse_settings
from pgtandem.postgres.settings import setting_spec
from pgtandem.postgres.versions import STANDBY_FLOOR, has_standby_signal
from pgtandem.testing.certificates import fits
from pgtandem.testing.configuration import Misconfigured, default_settings, parse_hba, read_settings
from pgtandem.testing.files import SimFile, SimFolder
from pgtandem.testing.storage import CONTROL_FILE, SEGMENT, Storage

if TYPE_CHECKING:
    from pgtandem.testing.network import SimMachine, SimNetwork
    from pgtandem.testing.receiver import SimReceiver

START_SECONDS = 0.2
STOP_SECONDS = 0.1
PROMOTE_SECONDS = 0.5
_ON_DISK = "configuration file"
_SOURCES = ("primary_conninfo", "primary_slot_name")


class Phase(Enum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class SimServer:
    """Made by `launch`, moved on by `tick`. `folder` is its data directory itself, whatever its name becomes."""

    def __init__(self, network: "SimNetwork", machine: "SimMachine", path: str, major: int, log_path: str) -> None:
        self.network = network
        self.machine = machine
        self.path = path
        self.major = major
        self.log_path = log_path
        self.folder: SimFolder = machine.files.folder(path)
        self._storage: Storage | None = None
        self.pid = network.new_pid()
        self.phase = Phase.STARTING
        self.phase_ends = network.clock.monotonic() + START_SECONDS
        self.frozen = False
        self.quits = False
        self.paused = False
        self.recovery: dict[str, str] = {}
        self.in_recovery = self.folder.file("standby.signal") is not None
        self.settings: dict[str, Setting] = {}
        self.hba: tuple[HbaRule, ...] = ()
        self.certificate: str | None = None
        self.encrypted = False
        self.upstream: SimServer | None = None
        self.sender_pid = 0
        #: How far its upstream knows that it is; and when it last heard of it.
        self.told = self.told_replayed = 0
        self.heard_at = 0.0
        self.slot: str | None = None
        self.next_try = 0.0
        self.next_archiving = 0.0
        self.promotes_at: float | None = None

    # --- what it is

    @property
    def storage(self) -> Storage:
        """What its data directory had when it was launched: a living server does not look again."""
        assert self._storage is not None
        return self._storage

    @property
    def alive(self) -> bool:
        return self.phase is not Phase.ENDED

    @property
    def answers(self) -> bool:
        """Whether it accepts connections."""
        return self.phase is Phase.RUNNING and not self.frozen

    @property
    def is_primary(self) -> bool:
        return self.phase is Phase.RUNNING and not self.in_recovery

    @property
    def port(self) -> int:
        return int(self.value("port"))

    @property
    def title(self) -> str:
        return self.path.rpartition("/")[2]

    def value(self, name: str) -> str:
        return self.settings[name].value

    @property
    def recovery_unread(self) -> bool:
        """Whether recovery.conf, up to 11, says something else than it did at the start."""
        now = parse_settings(self.folder.text(RECOVERY_FILE) or "")
        return not has_standby_signal(self.major) and now != self.recovery

    def source(self, name: str) -> str:
        """A setting that says where WAL comes from: up to 11 those of recovery.conf, as they were at the start."""
        return self.recovery.get(name, "") if not has_standby_signal(self.major) else self.value(name)

    def file(self, path: str) -> str | None:
        """A file as the server's own programs see it: relative to the data directory, or absolute."""
        if path.startswith("/"):
            content = self.machine.files.read(path)
            return None if content is None else content.decode(errors="replace")
        return self.folder.text(path)

    def log(self, text: str) -> None:
        stamp = f"{self.network.clock.now():.3f} [{self.pid}] "
        before = self.machine.files.read(self.log_path) or b""
        self.machine.files.write(self.log_path, before + f"{stamp}{text}\n".encode())

    # --- starting

    def launch(self) -> None:
        """What a postmaster does first; it ends at once where that is not possible, and the log says why."""
        try:
            self._prepare()
        except Misconfigured as error:
            self.phase = Phase.ENDED
            self.log(f"FATAL:  {error}")
            return
        self._write_pid_file("starting")
        self.network.servers.append(self)

    def _prepare(self) -> None:
        control = self.folder.file(CONTROL_FILE)
        if control is None or not isinstance(control.payload, Storage):
            raise Misconfigured(f'could not open file "{CONTROL_FILE}": No such file or directory')
        self._storage = control.payload
        if self.storage.major != self.major:
            raise Misconfigured("database files are incompatible with server")
        if any(other.folder is self.folder for other in self.network.servers):
            raise Misconfigured('lock file "postmaster.pid" already exists')
        self.settings = dict(default_settings(self.major))
        for name, assigned in read_settings(self.folder, self.path, self.major).items():
            self.settings[name] = Setting(assigned.value, _ON_DISK, assigned.file)
        self.hba = self._read_hba()
        self.certificate = self._read_certificate()
        holder = self.network.port_holder(self.machine, self.port)
        if holder is not None:
            raise Misconfigured(f"could not bind to port {self.port}: Address already in use")
        if len(self.storage.slots) > int(self.value("max_replication_slots")):
            raise Misconfigured("too many replication slots active before shutdown")
        if not has_standby_signal(self.major):
            self.recovery = parse_settings(self.folder.text(RECOVERY_FILE) or "")
            self.in_recovery = self.recovery.get("standby_mode") == "on"
        if self.in_recovery:
            self._require_parameters()

    def _read_hba(self) -> tuple[HbaRule, ...]:
        rules = parse_hba(self.folder.text("pg_hba.conf") or "")
        if not rules or any(rule.error for rule in rules):
            raise Misconfigured("could not load pg_hba.conf")
        return rules

    def _read_certificate(self) -> str | None:
        if self.value("ssl") != "on":
            return None
        certificate, key = self.file(self.value("ssl_cert_file")), self.file(self.value("ssl_key_file"))
        if certificate is None or key is None or not fits(certificate, key):
            raise Misconfigured("could not load server certificate file or private key file")
        return certificate

    def _require_parameters(self) -> None:
        """A standby must not have less than the primary whose WAL it replays (manual, 26.4.3)."""
        for name in STANDBY_FLOOR:
            own, needed = int(self.value(name)), int(self.storage.parameters[name])
            if own < needed:
                self.network.violate(f"{self.title} as a standby has {name} = {own}, and the primary has {needed}")
                raise Misconfigured("recovery aborted because of insufficient parameter settings")

    def _open(self) -> None:
        """It accepts connections from now on."""
        storage = self.storage
        label = self.folder.entries.pop("backup_label", None)
        if label is not None:
            self.folder.entries["backup_label.old"] = label
        self.phase = Phase.RUNNING
        if self.in_recovery:
            storage.state = "in archive recovery"
            self._write_pid_file("standby ")
            return
        if storage.state in ("in production", "in archive recovery"):
            storage.statistics = type(storage.statistics)()
        while storage.replay():
            pass
        storage.state = "in production"
        own = {name: self.value(name) for name in storage.parameters}
        if own != storage.parameters:
            storage.write("parameters", value=own)
        storage.write("checkpoint")
        self.recycle()
        self._write_pid_file("ready   ")

    # --- running

    def tick(self) -> None:
        """What happened since the last look: phases that ended."""
        if self.promotes_at is not None and not self.frozen and self.network.clock.monotonic() >= self.promotes_at:
            self.promotes_at = None
            self.promote()
        if self.frozen or not self.alive or self.network.clock.monotonic() < self.phase_ends:
            return
        if self.phase is Phase.STARTING:
            self._open()
        elif self.phase is Phase.STOPPING:
            self._close()

    def reload(self) -> None:
        """Reads the files again; settings of the context postmaster wait for a restart."""
        try:
            assigned = read_settings(self.folder, self.path, self.major)
        except Misconfigured as error:
            self.log(f"LOG:  {error}")
            self.log("LOG:  configuration file contains errors; no changes were applied")
            return
        before = [self.source(name) for name in _SOURCES]
        defaults = default_settings(self.major)
        for name in {*assigned, *(n for n, s in self.settings.items() if s.source == _ON_DISK or s.pending_restart)}:
            self._assign(
                name,
                Setting(assigned[name].value, _ON_DISK, assigned[name].file) if name in assigned else defaults[name],
            )
        try:
            self.hba = self._read_hba()
        except Misconfigured as error:
            self.log(f"LOG:  {error}")
        try:
            self.certificate = self._read_certificate()
        except Misconfigured as error:
            self.log(f"LOG:  {error}")
            self.log("LOG:  SSL configuration was not reloaded")
        if self.in_recovery and before != [self.source(name) for name in _SOURCES]:
            self.hang_up()
            self.next_try = 0.0

    def _assign(self, name: str, new: Setting) -> None:
        spec, old = setting_spec(self.major, name), self.settings.get(name)
        if spec is not None and spec.needs_restart and old is not None and old.value != new.value:
            self.settings[name] = replace(old, pending_restart=True)
        else:
            self.settings[name] = new

    def promote_soon(self) -> None:
        """pg_promote(false): it takes a moment, in which nothing tells that it was asked for."""
        if self.promotes_at is None:
            self.promotes_at = self.network.clock.monotonic() + PROMOTE_SECONDS

    def promote(self) -> None:
        """pg_ctl promote, or pg_promote(): a new timeline begins."""
        if not self.in_recovery or self.phase is not Phase.RUNNING:
            return
        self.hang_up()
        while self.storage.replay():
            pass
        self.in_recovery = False
        self.storage.state = "in production"
        self.storage.begin_timeline()
        if RECOVERY_FILE in self.folder.entries:
            self.folder.put("recovery.done", SimFile((self.folder.text(RECOVERY_FILE) or "").encode()))
        for signal in ("standby.signal", RECOVERY_FILE):
            self.folder.entries.pop(signal, None)
        self._write_pid_file("ready   ")

    def quit(self) -> None:
        """SIGQUIT, which a frozen process obeys when it goes on."""
        self.quits = True
        if not self.frozen:
            self.kill()

    def hang_up(self) -> None:
        """The walreceiver's connection ends."""
        if self.upstream is not None and self.slot is not None:
            slot = self.upstream.storage.slots.get(self.slot)
            if slot is not None and slot.holder is self:
                slot.holder = None
        self.upstream = self.slot = None

    def recycle(self) -> None:
        """Removes WAL that is not needed any more, as a checkpoint does."""
        cap: int | None = None
        if "max_slot_wal_keep_size" in self.settings and int(self.value("max_slot_wal_keep_size")) >= 0:
            cap = int(self.value("max_slot_wal_keep_size")) * 1024 * 1024
        keep = int(self.settings["wal_keep_size"].value) * 1024 * 1024 if "wal_keep_size" in self.settings else 0
        if not self.in_recovery and self.value("archive_mode") == "on":
            keep = max(keep, self.storage.end - self.storage.archived_to * SEGMENT)
        self.storage.recycle(cap, keep)

    # --- ending

    def request_stop(self) -> None:
        """SIGINT: a fast shutdown."""
        if self.phase in (Phase.STARTING, Phase.RUNNING):
            self.phase = Phase.STOPPING
            self.phase_ends = self.network.clock.monotonic() + STOP_SECONDS
            self._write_pid_file("stopping")

    def _close(self) -> None:
        storage = self.storage
        if self.in_recovery:
            storage.state = "shut down in recovery"
        elif storage.state == "in production":
            storage.write("checkpoint")
            storage.state = "shut down"
        for below in self.downstreams:
            self.network.flow(below)
        for receiver in self.receivers:
            receiver.go_on()
        self.recycle()
        self.folder.entries.pop("postmaster.pid", None)
        self._end()

    def kill(self) -> None:
        """kill -9, or a crash: postmaster.pid stays, and nothing is tidied up."""
        self._end()

    def _end(self) -> None:
        for below in self.downstreams:
            below.hang_up()
        for receiver in self.receivers:
            receiver.hang_up()
        self.hang_up()
        for slot in self.storage.slots.values():
            slot.holder = None
        self.phase = Phase.ENDED
        self.network.servers.remove(self)

    @property
    def receivers(self) -> "list[SimReceiver]":
        """Those of an archive's stream that get WAL from here."""
        return [receiver for receiver in self.network.receivers if receiver.upstream is self]

    @property
    def downstreams(self) -> "list[SimServer]":
        return [server for server in self.network.servers if server.upstream is self]

    def _write_pid_file(self, status: str) -> None:
        listen = self.settings["listen_addresses"].value
        lines = [self.pid, self.path, 1800000000, self.port, "", listen, "", status]
        self.folder.put("postmaster.pid", SimFile("\n".join(map(str, lines)).encode() + b"\n"))
