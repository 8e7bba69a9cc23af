"""The ports Database and Session over simulated servers."""

from dataclasses import replace
from typing import NoReturn

from pgtandem.model.examined import Examination
from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import REPLICATION_ROLE, REWIND_ROLE, SUPERUSER, NodeName, Secret, SlotName
from pgtandem.model.server import Archiver, Receiver, Role, Sender, Server, Setting, Slot
from pgtandem.ports.database import Access, BackupEnd, BackupStart, DatabaseRefused, DatabaseUnreachable, Encryption
from pgtandem.ports.pgbouncer import ConsoleAccess
from pgtandem.postgres import scram
from pgtandem.postgres.conf import parse_settings, render_settings
from pgtandem.postgres.conninfo import parse_conninfo
from pgtandem.postgres.settings import setting_spec
from pgtandem.testing.configuration import AUTO_FILE, parse_hba, password_fits
from pgtandem.testing.files import SimFile
from pgtandem.testing.network import CONTROL, SimMachine, SimNetwork
from pgtandem.testing.pgbouncer import SimConsole, SimPgbouncer, open_console
from pgtandem.testing.probe import Probe, port_call
from pgtandem.testing.programs import MINOR
from pgtandem.testing.receiver import SimReceiver
from pgtandem.testing.servers import SimServer
from pgtandem.testing.storage import SEGMENT, SimRole, SimSlot, segment_name

_CALL_SECONDS = 35.0


class SimDatabase:
    """Opens sessions from one machine, the one that pgtandem runs on."""

    title = "database"

    def __init__(
        self,
        network: SimNetwork,
        machine: SimMachine,
        probe: Probe,
        pgbouncers: list[SimPgbouncer] | None = None,
    ) -> None:
        self.network = network
        self.machine = machine
        self.probe = probe
        self.pgbouncers = [] if pgbouncers is None else pgbouncers

    @port_call(changes=False)
    async def connect(self, access: Access, *, deadline_seconds: float = 5) -> "SimSession":
        node = f"node {access.node}"
        # A server on another host is reached by way of that host, as ssh forwards it.
        client = self.network.machine_at(access.address) or self.machine
        server = self.network.listener(client, access.address, access.port)
        if server is None:
            raise DatabaseUnreachable(node, "Connection refused.")
        if server.frozen or not self.network.reaches(CONTROL, client.url):
            await self.network.clock.sleep(deadline_seconds)
            raise DatabaseUnreachable(node, f"It did not answer within {deadline_seconds:g} seconds.")
        encrypted = server.certificate is not None
        if access.encryption is Encryption.REQUIRED and not encrypted:
            raise DatabaseUnreachable(node, "Server does not support SSL, but SSL was required.")
        password = access.password.reveal() if access.password else None
        refusal = self.network.refusal(server, client, "postgres", access.user, password, encrypted=encrypted)
        if refusal:
            raise DatabaseUnreachable(node, f"{refusal[:1].upper()}{refusal[1:]}.")
        return SimSession(node, server, self.probe)

    @port_call(changes=False)
    async def served_certificate(
        self, node: NodeName, address: str, port: int, *, deadline_seconds: float = 5
    ) -> bytes | None:
        server = self.network.listener(self.machine, address, port)
        if server is None:
            raise DatabaseUnreachable(f"node {node}", "Connection refused.")
        if server.frozen:
            await self.network.clock.sleep(deadline_seconds)
            raise DatabaseUnreachable(f"node {node}", f"It did not answer within {deadline_seconds:g} seconds.")
        return None if server.certificate is None else server.certificate.encode()

    @port_call(changes=False)
    async def console(self, access: ConsoleAccess, *, deadline_seconds: float = 5) -> SimConsole:
        return open_console(self.pgbouncers, access, self.probe)


class SimSession:
    """One connection to one server process; it ends with that."""

    def __init__(self, node: str, server: SimServer, probe: Probe) -> None:
        self.node = node
        self.server = server
        self.probe = probe
        self.title = f"session {server.title}"
        self._open = True
        self._backup: tuple[int, bool] | None = None

    @port_call(changes=False)
    async def observe(self, replication_password: Secret | None, superuser_password: Secret | None = None) -> Server:
        server = await self._reach()
        storage, now = server.storage, server.network.clock.now()
        standby = server.in_recovery
        statistics = storage.statistics
        passwords = {REPLICATION_ROLE: replication_password, SUPERUSER: superuser_password}
        return Server(
            version_number=server.major * 10000 + MINOR[server.major],
            system_identifier=storage.system_identifier,
            in_recovery=standby,
            timeline=Timeline(storage.timeline),
            current_lsn=None if standby else Lsn(storage.end),
            receive_lsn=Lsn(storage.end) if standby else None,
            replay_lsn=Lsn(storage.replay_lsn) if standby else None,
            replay_age_seconds=(0.0 if storage.caught_up else 0.1) if standby else None,
            replay_paused=server.paused,
            recovery_unread=standby and server.recovery_unread,
            oldest_lsn=Lsn(storage.oldest // SEGMENT * SEGMENT),
            size_bytes=24 * 1024 * 1024,
            settings=_shown_settings(server),
            hba=parse_hba(server.folder.text("pg_hba.conf") or ""),
            roles={
                name: _role(name, role, passwords.get(name))
                for name, role in storage.content.roles.items()
                if name in (REPLICATION_ROLE, REWIND_ROLE, SUPERUSER) or (role.replication and role.login)
            },
            slots={name: _slot(server, name, slot) for name, slot in sorted(storage.slots.items())},
            senders=tuple(_sender(*row) for row in server.network.senders(server)),
            receiver=_receiver(server) if standby else None,
            archiver=Archiver(
                archived_count=statistics.archived,
                failed_count=statistics.failed,
                last_archived_wal=statistics.last_archived,
                last_failed_wal=statistics.last_failed,
                last_archived_age_seconds=_age(statistics.last_archived_at, now),
                last_failed_age_seconds=_age(statistics.last_failed_at, now),
                waiting_segments=max(storage.end // SEGMENT - storage.archived_to, 0),
            )
            if server.value("archive_mode") != "off"
            else None,
            proof_token=storage.content.proof,
            history=() if standby else tuple(storage.history),
        )

    @port_call(changes=False)
    async def examine(self) -> Examination:
        """Nothing worth telling."""
        await self._reach()
        return Examination()

    @port_call(changes=True)
    async def put_replication_role(self, name: str, verifier: str) -> None:
        if not scram.is_verifier(verifier):
            raise ValueError("not a SCRAM-SHA-256 verifier")
        server = await self._primary(f"put the role {name}")
        server.storage.write("role", name, SimRole(replication=True, verifier=verifier))

    @port_call(changes=True)
    async def set_password(self, name: str, verifier: str) -> None:
        if not scram.is_verifier(verifier):
            raise ValueError("not a SCRAM-SHA-256 verifier")
        server = await self._primary(f"set the password of {name}")
        role = server.storage.content.roles[name]
        server.storage.write("role", name, replace(role, verifier=verifier))

    @port_call(changes=True)
    async def end_sender(self, application_name: str) -> None:
        server = await self._reach()
        for standby, name, _ in server.network.senders(server):
            if name == application_name:
                standby.hang_up()

    @port_call(changes=True)
    async def put_rewind_role(self, name: str, verifier: str, seconds: float) -> None:
        if not scram.is_verifier(verifier):
            raise ValueError("not a SCRAM-SHA-256 verifier")
        server = await self._primary(f"put the role {name}")
        server.storage.write("role", name, SimRole(verifier=verifier))

    @port_call(changes=True)
    async def drop_role(self, name: str) -> None:
        server = await self._primary(f"drop the role {name}")
        if name in server.storage.content.roles:
            server.storage.write("drop role", name)

    @port_call(changes=True)
    async def set_superuser_password(self, name: str, verifier: str) -> None:
        if not scram.is_verifier(verifier):
            raise ValueError("not a SCRAM-SHA-256 verifier")
        server = await self._primary(f"set the password of {name}")
        role = server.storage.content.roles.get(name)
        if role is None:
            raise DatabaseRefused(self.node, f"set the password of {name}", f'Role "{name}" does not exist.')
        server.storage.write("role", name, replace(role, verifier=verifier))

    @port_call(changes=True)
    async def disable_role(self, name: str) -> None:
        server = await self._primary(f"disable the role {name}")
        role = server.storage.content.roles.get(name)
        if role is None:
            return
        if role.superuser:
            raise DatabaseRefused(self.node, f"disable the role {name}", "It is a superuser.")
        server.storage.write("role", name, replace(role, login=False, replication=False))

    @port_call(changes=True)
    async def create_slot(self, name: SlotName) -> None:
        server = await self._reach()
        slots, what = server.storage.slots, f"create the slot {name}"
        there = slots.get(name)
        if there is not None and there.kind != "physical":
            raise DatabaseRefused(self.node, what, f"A {there.kind} slot of that name is there.")
        if there is not None and there.restart_lsn is not None and not there.lost:
            return
        if there is None and len(slots) >= int(server.value("max_replication_slots")):
            raise DatabaseRefused(self.node, what, "All replication slots are in use.")
        slots[name] = SimSlot(restart_lsn=max(server.storage.checkpoint, server.storage.oldest))

    @port_call(changes=True)
    async def keep_wal(self, name: str) -> None:
        """Nothing that the simulated world does needs it: it takes no backups."""
        server = await self._reach()
        if len(server.storage.slots) >= int(server.value("max_replication_slots")):
            raise DatabaseRefused(self.node, "keep WAL", "All replication slots are in use.")

    @port_call(changes=True)
    async def drop_slot(self, name: SlotName) -> None:
        server = await self._reach()
        slot = server.storage.slots.pop(name, None)
        if slot is not None and isinstance(slot.holder, SimServer | SimReceiver):
            slot.holder.hang_up()

    @port_call(changes=True)
    async def reload(self) -> None:
        (await self._reach()).reload()

    @port_call(changes=True)
    async def reset_setting(self, name: str) -> None:
        server = await self._reach()
        if setting_spec(server.major, name) is None and "." not in name:
            why = f'Unrecognized configuration parameter "{name}".'
            raise DatabaseRefused(self.node, f"reset the setting {name}", why)
        settings = parse_settings(server.folder.text(AUTO_FILE) or "")
        settings.pop(name.lower(), None)
        text = render_settings(settings, "Do not edit this file manually!")
        server.folder.put(AUTO_FILE, SimFile(text.encode()))

    @port_call(changes=True)
    async def checkpoint(self) -> None:
        server = await self._reach()
        if not server.in_recovery:
            server.storage.write("checkpoint")
            server.recycle()

    @port_call(changes=False)
    async def position(self) -> tuple[bool, Lsn | None]:
        server = await self._reach()
        return server.in_recovery, Lsn(server.storage.replay_lsn if server.in_recovery else server.storage.end)

    @port_call(changes=True)
    async def resume_replay(self) -> None:
        server = await self._reach()
        if not server.in_recovery:
            raise DatabaseRefused(self.node, "go on with its replay", "Recovery is not in progress.")
        server.paused = False

    @port_call(changes=True)
    async def promote(self) -> None:
        server = await self._reach()
        if not server.in_recovery:
            raise DatabaseRefused(self.node, "be promoted", "Recovery is not in progress.")
        server.promote_soon()

    @port_call(changes=True)
    async def finish_segment(self) -> tuple[str, Lsn]:
        server = await self._primary("switch to a new WAL segment")
        storage = server.storage
        end = storage.write("message").lsn
        name = segment_name(storage.timeline, (end - 1) // SEGMENT)
        storage.write("switch")
        return name, Lsn(end)

    @port_call(changes=False)
    async def wake_summarizer(self) -> bool:
        await self._reach()
        return False

    @port_call(changes=True)
    async def commit_something(self) -> None:
        (await self._primary("commit a transaction")).storage.write("message")

    @port_call(changes=False)
    async def archived(self) -> tuple[str | None, int]:
        statistics = (await self._reach()).storage.statistics
        return statistics.last_archived, statistics.failed

    @port_call(changes=True)
    async def write_proof(self, token: str) -> None:
        (await self._primary("write the proof")).storage.write("proof", value=token)

    @port_call(changes=False)
    async def read_proof(self) -> str | None:
        return (await self._reach()).storage.content.proof

    @port_call(changes=False)
    async def has_database(self, name: str) -> bool:
        await self._reach()
        return name == "postgres"

    @port_call(changes=False)
    async def check_query(self, query: str) -> str | None:
        """It reads no SQL, so that nothing is wrong with any."""
        await self._reach()
        return ""

    @port_call(changes=True)
    async def start_backup(self, label: str) -> BackupStart:
        server = await self._reach()
        if self._backup is not None:
            raise DatabaseRefused(self.node, "start a base backup", "A backup is already in progress in this session.")
        if not server.in_recovery:
            server.storage.write("checkpoint")
        self._backup = (server.storage.checkpoint, server.in_recovery)
        return BackupStart(Lsn(server.storage.checkpoint), server.path, SEGMENT)

    @port_call(changes=True)
    async def stop_backup(self) -> BackupEnd:
        server, what = await self._reach(), "end the base backup"
        if self._backup is None:
            raise DatabaseRefused(self.node, what, "Backup is not in progress.")
        (start, in_recovery), self._backup = self._backup, None
        if in_recovery and not server.in_recovery:
            raise DatabaseRefused(self.node, what, "The standby was promoted during online backup.")
        if not in_recovery:
            server.storage.write("switch")
        return BackupEnd(Lsn(server.storage.end), f"START WAL LOCATION: {Lsn(start)}\n", "")

    async def close(self) -> None:
        self._open = False

    async def answer(self) -> None:
        """Where nothing comes back, what was asked for may be done all the same."""
        network = self.server.network
        if not network.carries(self.server.machine.url, CONTROL):
            await self._no_answer()

    async def _no_answer(self) -> NoReturn:
        self._open = False
        await self.server.network.clock.sleep(_CALL_SECONDS)
        raise DatabaseUnreachable(self.node, f"It did not answer within {_CALL_SECONDS:g} seconds.")

    async def _reach(self) -> SimServer:
        if not self._open:
            raise DatabaseUnreachable(self.node, "The connection is closed.")
        if self.server.frozen or not self.server.network.carries(CONTROL, self.server.machine.url):
            await self._no_answer()
        if not self.server.answers:
            self._open = False
            raise DatabaseUnreachable(self.node, "Server closed the connection unexpectedly.")
        return self.server

    async def _primary(self, what: str) -> SimServer:
        server = await self._reach()
        if server.in_recovery:
            raise DatabaseRefused(self.node, what, "Cannot execute that during recovery.")
        return server


def _shown_settings(server: SimServer) -> dict[str, Setting]:
    settings = dict(server.settings)
    if server.value("archive_mode") == "off":
        command = settings["archive_command"]
        settings["archive_command"] = Setting("(disabled)", command.source, command.source_file)
    return {name.lower(): setting for name, setting in settings.items()}


def _role(name: str, role: SimRole, password: Secret | None) -> Role:
    stored = role.verifier
    matches: bool | None = None
    if password is not None:
        matches = stored is not None and password_fits(password.reveal(), stored)
    kind = "none" if stored is None else "scram-sha-256" if scram.is_verifier(stored) else "md5"
    return Role(name, role.superuser, role.replication, role.login, role.connection_limit, kind, matches)


def _slot(server: SimServer, name: str, slot: SimSlot) -> Slot:
    held = None if slot.restart_lsn is None else max(server.storage.end - slot.restart_lsn, 0)
    holder = slot.holder
    return Slot(
        name=name,
        kind=slot.kind,
        active=isinstance(holder, SimServer | SimReceiver),
        active_pid=holder.pid if isinstance(holder, SimServer | SimReceiver) else None,
        restart_lsn=None if slot.restart_lsn is None else Lsn(slot.restart_lsn),
        wal_status=None if server.major < 13 else "lost" if slot.lost else "reserved",
        held_bytes=held,
    )


def _sender(standby: SimServer | SimReceiver, name: str, sync_state: str) -> Sender:
    end = Lsn(standby.told)
    return Sender(
        application_name=name,
        pid=standby.sender_pid,
        client_address="127.0.0.1",
        state="streaming",
        sync_state=sync_state,
        sent_lsn=end,
        write_lsn=end,
        flush_lsn=end,
        replay_lsn=Lsn(standby.told_replayed),
        encrypted=standby.encrypted,
        user=parse_conninfo(standby.source("primary_conninfo")).get("user"),
    )


def _receiver(server: SimServer) -> Receiver | None:
    if server.upstream is None:
        return None
    parameters = parse_conninfo(server.source("primary_conninfo"))
    return Receiver(
        status="streaming",
        sender_host=parameters.get("host"),
        sender_port=int(parameters.get("port", "5432")),
        slot=server.slot,
        received_timeline=Timeline(server.storage.timeline),
    )


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(now - moment, 0.0)
