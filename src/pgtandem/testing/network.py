"""Machines, the servers on them, and what goes on between them: WAL from server to server and into the archive."""

import re
import shlex
from dataclasses import dataclass, field

from pgtandem.postgres.archive_scripts import ARCHIVE_SCRIPT, SYSTEM_FILE
from pgtandem.postgres.certificates import covers
from pgtandem.postgres.conninfo import parse_conninfo
from pgtandem.postgres.stream_scripts import STREAMED
from pgtandem.postgres.wal_fetch import FETCH_SCRIPT, RESTORE_SCRIPT
from pgtandem.postgres.wal_push import PUSH_SCRIPT
from pgtandem.testing.certificates import SimCertificates
from pgtandem.testing.clock import SimClock
from pgtandem.testing.configuration import admitted, password_fits, password_for
from pgtandem.testing.files import SimFileSystem, SimFolder
from pgtandem.testing.receiver import Piece, SimReceiver, pieces, streamed, wants
from pgtandem.testing.servers import Phase, SimServer
from pgtandem.testing.storage import SEGMENT, Record, Storage, segment_name

#: Where pgtandem runs, as one end of a cut: a seat of its own.
CONTROL = "control"
#: After so long both ends of a stream notice that nothing comes from the other (wal_sender_timeout and its kin).
SILENT_SECONDS = 2.5
_SYNC_NAMES = re.compile(r"(FIRST|ANY) (\d+) \((.*)\)")
_ARCHIVE_PAUSE = 1.0


@dataclass
class SimMachine:
    """A machine: its disk, its addresses, and programs of others that hold ports."""

    url: str
    files: SimFileSystem
    addresses: tuple[str, ...] = ("127.0.0.1",)
    foreign_ports: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArchivedSegment:
    """What an archived WAL file holds: records from this index of the history on."""

    first: int
    records: tuple[Record, ...]


class SimNetwork:
    """Everything that lives. `settle` lets the world go on as far as the time allows; `violations` collects what
    must never happen and only a server sees."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.machines: list[SimMachine] = []
        self.servers: list[SimServer] = []
        self.receivers: list[SimReceiver] = []
        #: Where the archive is that servers on other machines reach over ssh, and its directory there.
        self.archive_over_ssh: tuple[SimMachine, str] | None = None
        self.silent_seconds = SILENT_SECONDS
        self.violations: list[str] = []
        #: Pairs of machines (their urls, or CONTROL): nothing gets from the first to the second.
        self.cuts: set[tuple[str, str]] = set()
        self._pids = 1000

    def new_pid(self) -> int:
        self._pids += 1
        return self._pids

    def violate(self, what: str) -> None:
        self.violations.append(what)

    def settle(self) -> None:
        """A look at the world: phases end, WAL goes one hop further and is replayed, segments are archived."""
        for server in list(self.servers):
            server.tick()
        for server in list(self.servers):
            if server.phase is not Phase.RUNNING or server.frozen:
                continue
            if server.in_recovery:
                self._replay(server)
                if server.alive:
                    self._receive(server)
            else:
                self._archive(server)
        for receiver in list(self.receivers):
            receiver.go_on()

    # --- the way from one machine to another

    def carries(self, source: str, target: str) -> bool:
        return source == target or (source, target) not in self.cuts

    def reaches(self, one: str, other: str) -> bool:
        """Whether a connection can be made: both ways are needed for it."""
        return self.carries(one, other) and self.carries(other, one)

    # --- connections

    def machine_at(self, address: str) -> SimMachine | None:
        return next((machine for machine in self.machines if address in machine.addresses), None)

    def listener(self, machine: SimMachine, address: str, port: int) -> SimServer | None:
        """Who answers at an address, as seen from a machine."""
        for server in self.servers:
            reachable = server.machine is machine if address.startswith("127.") else address in server.machine.addresses
            listens = server.value("listen_addresses")
            if reachable and server.port == port and (listens in ("*", "0.0.0.0") or address in listens.split(",")):
                return server
        return None

    def port_holder(self, machine: SimMachine, port: int) -> str | None:
        for server in self.servers:
            if server.machine is machine and server.port == port:
                return f"postgres (process {server.pid})"
        return machine.foreign_ports.get(port)

    def refusal(
        self,
        server: SimServer,
        machine: SimMachine,
        database: str,
        user: str,
        password: str | None,
        *,
        encrypted: bool = False,
    ) -> str:
        """Why a server does not let somebody in; "" when it does."""
        if server.phase is Phase.STARTING:
            return "the database system is starting up"
        if server.phase is not Phase.RUNNING:
            return "the database system is shutting down"
        client = "127.0.0.1" if machine is server.machine else machine.addresses[0]
        method = admitted(server.hba, database, user, client, encrypted=encrypted)
        if method in (None, "reject"):
            return f'no pg_hba.conf entry for host "{client}", user "{user}", database "{database}"'
        role = server.storage.content.roles.get(user)
        fits = role is not None and role.verifier is not None and password_fits(password or "", role.verifier)
        if method != "trust" and not fits:
            return f'password authentication failed for user "{user}"'
        if role is None or not role.login:
            return f'role "{user}" is not permitted to log in'
        if database == "replication" and not (role.replication or role.superuser):
            return "permission denied to start WAL sender"
        return ""

    def connect_as_client(
        self, machine: SimMachine, conninfo: str, passfile: str | None, root: str | None = None
    ) -> SimServer | str:
        """The server that a replication connection reaches, or what went wrong. `passfile` and `root` (the CA's
        certificates) are the texts of the files."""
        parameters = parse_conninfo(conninfo)
        host, port, user = parameters["host"], int(parameters["port"]), parameters["user"]
        server = self.listener(machine, host, port)
        if server is None:
            return f'connection to server at "{host}", port {port} failed: Connection refused'
        if server.frozen or not self.reaches(machine.url, server.machine.url):
            return f'connection to server at "{host}", port {port} failed: timeout expired'
        trouble = self._verify(server, host, root or "") if parameters.get("sslmode") == "verify-full" else ""
        if trouble:
            return f'connection to server at "{host}", port {port} failed: {trouble}'
        password = password_for(passfile or "", host, port, user)
        encrypted = server.certificate is not None
        refusal = self.refusal(server, machine, "replication", user, password, encrypted=encrypted)
        if refusal:
            return f'connection to server at "{host}", port {port} failed: FATAL:  {refusal}'
        if len(server.downstreams) >= int(server.value("max_wal_senders")):
            return "FATAL:  number of requested standby connections exceeds max_wal_senders"
        return server

    def _verify(self, server: SimServer, host: str, root: str) -> str:
        """What libpq finds wrong with a server's certificate."""
        if server.certificate is None:
            return "server does not support SSL, but SSL was required"
        certificate = SimCertificates().read(server.certificate.encode(), root or None)
        if not certificate.ours or not certificate.valid_from <= self.clock.now() < certificate.valid_until:
            return "SSL error: certificate verify failed"
        return "" if covers(certificate.names, host) else f'server certificate does not match host name "{host}"'

    # --- standbys

    def _replay(self, server: SimServer) -> None:
        storage = server.storage
        while not server.paused and not storage.caught_up:
            record = storage.replay()
            assert record is not None
            if record.kind == "checkpoint":
                server.recycle()
            elif record.kind == "parameters":
                lacking = [name for name, value in record.value.items() if _lacks(server, name, value)]
                if lacking:
                    self.violate(f"{server.title} cannot replay: {', '.join(lacking)} is higher on the primary")
                    server.log("FATAL:  recovery aborted because of insufficient parameter settings")
                    if server.major < 14:
                        server.kill()
                        return
                    server.paused = True

    def _receive(self, server: SimServer) -> None:
        now = self.clock.monotonic()
        upstream = server.upstream
        if upstream is None or self.reaches(server.machine.url, upstream.machine.url):
            server.heard_at = now
        elif now - server.heard_at > SILENT_SECONDS:
            server.hang_up()
        if server.upstream is None and now >= server.next_try:
            server.next_try = now + int(server.value("wal_retrieve_retry_interval")) / 1000
            self._restore(server)
            trouble = self._connect(server)
            if trouble:
                server.log(f"FATAL:  {trouble}")
        self.flow(server)

    def _connect(self, server: SimServer) -> str:
        """Tries to stream; says what went wrong."""
        conninfo = server.source("primary_conninfo")
        if not conninfo:
            return ""
        passfile = server.file(parse_conninfo(conninfo).get("passfile", ""))
        root = server.file(parse_conninfo(conninfo).get("sslrootcert", ""))
        found = self.connect_as_client(server.machine, conninfo, passfile, root)
        if isinstance(found, str):
            return f"could not connect to the primary server: {found}"
        mine, theirs = server.storage, found.storage
        if mine.system_identifier != theirs.system_identifier:
            return "database system identifier differs between the primary and standby"
        name = server.source("primary_slot_name")
        slot = theirs.slots.get(name)
        if name and slot is None:
            return f'could not start WAL streaming: ERROR:  replication slot "{name}" does not exist'
        if slot and (slot.holder is not None or slot.lost):
            why = f"is lost: {slot.lost}" if slot.lost else "is active"
            return f'could not start WAL streaming: ERROR:  replication slot "{name}" {why}'
        if len(theirs.wal) < len(mine.wal):
            return "requested starting point is ahead of the WAL flush position of this server"
        if not mine.continues(theirs):
            if mine.timeline == theirs.timeline:
                self.violate(f"{server.title} and {found.title} have different WAL on one timeline")
            return "requested starting point is not in this server's history"
        # It asks from the beginning of the segment in which its own WAL ends.
        if mine.end // SEGMENT < theirs.oldest // SEGMENT:
            name = segment_name(mine.timeline, mine.end // SEGMENT)
            return (
                f"could not receive data from WAL stream: ERROR:  requested WAL segment {name} has already been removed"
            )
        server.upstream, server.slot, server.encrypted = found, name or None, found.certificate is not None
        server.sender_pid, server.heard_at = self.new_pid(), self.clock.monotonic()
        server.told, server.told_replayed = mine.end, mine.replay_lsn
        if slot:
            slot.holder = server
        return ""

    def flow(self, server: SimServer) -> None:
        """What the upstream has goes to the standby, and how far it is goes back; the slot follows."""
        upstream = server.upstream
        if upstream is None or upstream.frozen or server.frozen:
            return
        if self.carries(upstream.machine.url, server.machine.url):
            server.storage.receive(upstream.storage.wal[len(server.storage.wal) :])
        if not self.carries(server.machine.url, upstream.machine.url):
            return
        server.told, server.told_replayed = server.storage.end, server.storage.replay_lsn
        slot = upstream.storage.slots.get(server.slot or "")
        if slot is not None:
            slot.restart_lsn = server.storage.end

    def _restore(self, server: SimServer) -> None:
        """restore_command, as long as the archive has what comes next."""
        script = RESTORE_SCRIPT if self.archive_over_ssh is None else FETCH_SCRIPT
        found_at = self._archive_of(server, server.source("restore_command"), script)
        if found_at is None:
            return
        storage, (machine, folder) = server.storage, found_at
        while True:
            found = machine.files.find(f"{folder}/{segment_name(storage.timeline, storage.end // SEGMENT)}")
            segment = getattr(found, "payload", None)
            if not isinstance(segment, ArchivedSegment):
                if not self._take_streamed(server, machine, folder):
                    return
                continue
            if segment.first > len(storage.wal):
                return
            new = segment.records[len(storage.wal) - segment.first :]
            if not new:
                return
            storage.receive(list(new))

    def _take_streamed(self, server: SimServer, machine: SimMachine, folder: str) -> bool:
        """What was streamed of the segment that comes next; of one that is not whole only on the newest timeline."""
        storage, place = server.storage, machine.files.find(f"{folder}/{STREAMED}")
        if not isinstance(place, SimFolder):
            return False
        name = segment_name(storage.timeline, storage.end // SEGMENT)
        newer = any(each.endswith(".history") and int(each[:8], 16) > storage.timeline for each in place.entries)
        there = dict(pieces(place))
        archived = getattr(machine.files.find(f"{folder}/{name}"), "payload", None)
        piece = (
            archived
            if isinstance(archived, Piece)
            else there.get(name) or (None if newer else there.get(f"{name}.partial"))
        )
        # It is the same segment from its beginning on, or of another history.
        here = [record for record in storage.wal if piece and piece.number * SEGMENT < record.lsn]
        if piece is None or any(one is not other for one, other in zip(here, piece.records, strict=False)):
            return False
        new = piece.records[len(here) :]
        storage.receive(new)
        return bool(new)

    # --- the archiver

    def _archive(self, server: SimServer) -> None:
        storage, now = server.storage, self.clock.monotonic()
        if server.value("archive_mode") != "on" or now < server.next_archiving:
            return
        # What was removed while it did not archive is not archived any more.
        storage.archived_to = max(storage.archived_to, storage.oldest // SEGMENT)
        while storage.archived_to < storage.end // SEGMENT:
            name = segment_name(storage.timeline, storage.archived_to)
            if not self._archive_one(server, name):
                storage.statistics.failed += 1
                storage.statistics.last_failed, storage.statistics.last_failed_at = name, self.clock.now()
                server.next_archiving = now + _ARCHIVE_PAUSE
                return
            storage.statistics.archived += 1
            storage.statistics.last_archived, storage.statistics.last_archived_at = name, self.clock.now()
            storage.archived_to += 1

    def _archive_one(self, server: SimServer, name: str) -> bool:
        script = ARCHIVE_SCRIPT if self.archive_over_ssh is None else PUSH_SCRIPT
        found_at = self._archive_of(server, server.value("archive_command"), script)
        if found_at is None:
            server.log("LOG:  archive command failed")
            return False
        machine, folder = found_at
        path, content = f"{folder}/{name}", _segment(server.storage)
        try:
            there = machine.files.find(path)
            if there is not None:
                return tuple(getattr(getattr(there, "payload", None), "records", ())) == content.records
            machine.files.write(path, b"", weight=SEGMENT).payload = content
        except OSError as error:
            server.log(f"LOG:  archive command failed: {error.strerror}")
            return False
        self._delivered(machine, folder)
        return True

    def _archive_of(self, server: SimServer, command: str, script: str) -> tuple[SimMachine, str] | None:
        """The machine and the cluster's folder there, None where the command does not get there."""
        words = [word.removesuffix(";") for word in shlex.split(command)]
        if script not in words or server.file(script) is None:
            return None
        system = (server.file(SYSTEM_FILE) or "").strip()
        if self.archive_over_ssh is None:
            return server.machine, f"{words[4]}/{system}"
        machine, directory = self.archive_over_ssh
        return (machine, f"{directory}/{system}") if self.reaches(server.machine.url, machine.url) else None

    def _delivered(self, machine: SimMachine, folder: str) -> None:
        """Whole segments that were also streamed go from there, but for the newest; and the receiver is woken."""
        if not wants(machine, folder):
            return
        place = streamed(machine, folder)
        for name in sorted(place.entries)[:-1]:
            if machine.files.find(f"{folder}/{name}") is not None:
                del place.entries[name]
        self.start_receiver(machine, folder)

    # --- the receiver of the archive's stream

    def receiver_of(self, machine: SimMachine, folder: str) -> SimReceiver | None:
        return next((each for each in self.receivers if each.machine is machine and each.folder == folder), None)

    def start_receiver(self, machine: SimMachine, folder: str) -> None:
        """receiver/run, which starts only where it is wanted and no other one runs."""
        if wants(machine, folder) and self.receiver_of(machine, folder) is None:
            self.receivers.append(SimReceiver(self, machine, folder))

    # --- synchronous commit

    def senders(self, server: SimServer) -> list[tuple[SimServer | SimReceiver, str, str]]:
        """Who streams from a server: the standby or the receiver, its application_name and sync_state."""
        belows: list[SimServer | SimReceiver] = [*server.downstreams, *server.receivers]
        found = [
            (below, parse_conninfo(below.source("primary_conninfo")).get("application_name", "walreceiver"))
            for below in belows
        ]
        match = None if server.in_recovery else _SYNC_NAMES.fullmatch(server.value("synchronous_standby_names"))
        if match is None:
            return [(below, name, "async") for below, name in found]
        names, count = re.findall(r'"([^"]*)"', match.group(3)), int(match.group(2))
        able = sorted((name for _, name in found if name in names), key=names.index)
        states = {name: "quorum" if match.group(1) == "ANY" else "potential" for name in able}
        if match.group(1) == "FIRST":
            states |= dict.fromkeys(able[:count], "sync")
        return [(below, name, states.get(name, "async")) for below, name in found]

    def confirmed(self, server: SimServer, lsn: int) -> bool:
        """Whether a commit at this position would be acknowledged now."""
        match = _SYNC_NAMES.fullmatch(server.value("synchronous_standby_names"))
        level = server.value("synchronous_commit")
        if match is None or level in ("off", "local"):
            return True
        replayed = level == "remote_apply"
        having = [
            below
            for below, _, state in self.senders(server)
            if state in ("sync", "quorum") and (below.told_replayed if replayed else below.told) >= lsn
        ]
        return len(having) >= int(match.group(2))


def _lacks(server: SimServer, name: str, value: str) -> bool:
    own = server.value(name)
    return own.isdigit() and value.isdigit() and int(own) < int(value)


def _segment(storage: Storage) -> ArchivedSegment:
    """The records that end in the next segment to be archived."""
    start, end = storage.archived_to * SEGMENT, (storage.archived_to + 1) * SEGMENT
    inside = [index for index, record in enumerate(storage.wal) if start < record.lsn <= end]
    if not inside:
        return ArchivedSegment(len(storage.wal), ())
    return ArchivedSegment(inside[0], tuple(storage.wal[inside[0] : inside[-1] + 1]))
