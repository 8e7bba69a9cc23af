"""What the programs do that pgtandem runs on a host, as far as it uses them."""

import copy
import errno
import posixpath
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from pgtandem.apply.wal_ways import HANG_UP
from pgtandem.observe.hosts import WHAT_A_HOST_IS
from pgtandem.observe.wal_ways import HELLO, WHOSE_HOME
from pgtandem.ports.host import Completed
from pgtandem.postgres import scram
from pgtandem.postgres.conninfo import parse_conninfo
from pgtandem.postgres.left_behind import END_LEFT_BEHIND
from pgtandem.postgres.versions import STANDBY_FLOOR, initdb_takes_verifier
from pgtandem.postgres.wal_serve import MARK
from pgtandem.testing.configuration import default_settings, password_for
from pgtandem.testing.files import SimFile, SimFolder
from pgtandem.testing.network import SimMachine, SimNetwork
from pgtandem.testing.probe import Call, Moment, Probe
from pgtandem.testing.receiving import RECEIVING
from pgtandem.testing.servers import SimServer
from pgtandem.testing.storage import CONTROL_FILE, SimRole, Storage, control_text
from pgtandem.testing.wal_files import wal_files

#: The latest minor versions.
MINOR = {10: 23, 11: 22, 12: 22, 13: 23, 14: 20, 15: 15, 16: 11, 17: 7, 18: 4}
_BASE_BYTES = 24 * 1024 * 1024
_NOT_COPIED = ("postmaster.pid", "backup_label", "backup_label.old", CONTROL_FILE)
_INITDB_CONF = """\
max_connections = 100			# (change requires restart)
shared_buffers = 128MB			# min 128kB
dynamic_shared_memory_type = posix	# the default is usually the first option
max_wal_size = 1GB
min_wal_size = 80MB
log_timezone = 'Etc/UTC'
datestyle = 'iso, mdy'
timezone = 'Etc/UTC'
lc_messages = 'C'			# locale for system error message
default_text_search_config = 'pg_catalog.english'
"""
_INITDB_HBA = """\
# TYPE  DATABASE        USER            ADDRESS                 METHOD
local   all             all                                     {local}
host    all             all             127.0.0.1/32            {host}
host    all             all             ::1/128                 {host}
local   replication     all                                     {local}
host    replication     all             127.0.0.1/32            {host}
host    replication     all             ::1/128                 {host}
"""


@dataclass(frozen=True, slots=True)
class Program:
    """What stands in a file that can be executed: which program, of which major version (0 for the system's own)."""

    name: str
    major: int


@dataclass
class Running:
    """One run of a program."""

    network: SimNetwork
    machine: SimMachine
    probe: Probe
    program: Program
    argv: tuple[str, ...]
    on_output: Callable[[bytes], None] | None
    stdin: bytes = b""

    async def take(self, seconds: float) -> None:
        """The program works for a while; half way is a moment too. Killed or cancelled it leaves what it has."""
        call = Call(self.probe.calls, self.probe.changes, "program", self.program.name, "", True, Moment.MIDDLE)
        await self.network.clock.sleep(seconds / 2)
        self.probe.at(call, Moment.MIDDLE)
        await self.network.clock.sleep(seconds / 2)
        self.network.settle()

    def reaches(self, server: SimServer) -> bool:
        return self.network.reaches(self.machine.url, server.machine.url)

    def option(self, *names: str) -> str:
        """An option's value: "-D X" or "--pgdata=X"."""
        for at, word in enumerate(self.argv):
            if word in names:
                return self.argv[at + 1]
            for name in names:
                if word.startswith(f"{name}="):
                    return word.partition("=")[2]
        return ""


def _failed(text: str) -> Completed:
    return Completed(1, b"", text.encode() + b"\n")


async def _postgres(running: Running) -> Completed:
    major = running.program.major
    if "--describe-config" in running.argv:
        return Completed(0, b"ssl_ciphers\tsighup\tSSL\tSTRING\tHIGH:MEDIUM:+3DES:!aNULL\t\t\tSets the ciphers.\t\n")
    return Completed(0, f"postgres (PostgreSQL) {major}.{MINOR[major]}\n".encode())


async def _initdb(running: Running) -> Completed:
    path, major, files = running.option("-D", "--pgdata"), running.program.major, running.machine.files
    there = files.find(path)
    if isinstance(there, SimFolder) and there.entries:
        return _failed(f'initdb: error: directory "{path}" exists but is not empty')
    password_file = running.option("--pwfile")
    line = running.stdin if password_file == "/dev/stdin" else files.read(password_file) or b""
    verifier = (line if initdb_takes_verifier(major) else line[:99]).decode().strip()
    if not scram.is_verifier(verifier):
        verifier = scram.verifier(verifier, b"salt")
    try:
        folder = files.make_directory(path)
        methods = {"local": running.option("--auth-local") or "trust", "host": running.option("--auth-host") or "trust"}
        for name, text in (
            ("postgresql.conf", _INITDB_CONF),
            ("postgresql.auto.conf", "# Do not edit this file manually!\n"),
            ("pg_hba.conf", _INITDB_HBA.format(**methods)),
            ("pg_ident.conf", ""),
            ("PG_VERSION", f"{major}\n"),
        ):
            files.write(f"{path}/{name}", text.encode(), durable=False)
        await running.take(1.0)
        files.require_room(_BASE_BYTES, path)
    except OSError as error:
        return _failed(f'initdb: error: could not write in "{path}": {error.strerror}')
    defaults = default_settings(major)
    storage = Storage(
        major=major,
        system_identifier=str(7_500_000_000_000_000_000 + running.network.new_pid()),
        parameters={name: defaults[name].value for name in (*STANDBY_FLOOR, "wal_level")} | {"wal_level": "replica"},
    )
    superuser = running.option("-U", "--username") or "postgres"
    storage.write("role", superuser, SimRole(True, True, verifier=verifier))
    storage.write("checkpoint")
    folder.put("base/1/content", SimFile(weight=_BASE_BYTES, durable=False))
    folder.put(CONTROL_FILE, SimFile(payload=storage, durable=False))
    return Completed(0, b"Success.\n")


async def _pg_controldata(running: Running) -> Completed:
    path = running.argv[-1]
    found = running.machine.files.find(f"{path}/{CONTROL_FILE}")
    if not isinstance(found, SimFile) or not isinstance(found.payload, Storage):
        why = "No such file or directory"
        return _failed(
            f'pg_controldata: error: could not open file "{path}/{CONTROL_FILE}" for reading: {why}',
        )
    return Completed(0, control_text(found.payload).encode())


async def _pg_ctl(running: Running) -> Completed:
    path, action = running.option("-D"), running.argv[1]
    folder = running.machine.files.find(path)
    if not isinstance(folder, SimFolder):
        return _failed(f'pg_ctl: directory "{path}" does not exist')
    server = next((server for server in running.network.servers if server.folder is folder), None)
    if action == "stop":
        if server is None:
            return _failed(f'pg_ctl: PID file "{path}/postmaster.pid" does not exist\nIs server running?')
        server.request_stop()
    elif action == "promote":
        if server is None or not server.in_recovery:
            return _failed("pg_ctl: cannot promote server; server is not in standby mode")
        server.promote_soon()
    elif action == "start":
        if folder.text("PG_VERSION") is None:
            return _failed(f'pg_ctl: directory "{path}" is not a database cluster directory')
        SimServer(running.network, running.machine, path, running.program.major, running.option("-l")).launch()
    return Completed(0)


async def _pg_basebackup(running: Running) -> Completed:
    """Half of the files first, then the rest, and the control file last, as the real one."""
    path, files = running.option("-D", "--pgdata"), running.machine.files
    conninfo = running.option("-d", "--dbname")
    texts = [files.read(parse_conninfo(conninfo).get(key, "/none")) or b"" for key in ("passfile", "sslrootcert")]
    found = running.network.connect_as_client(running.machine, conninfo, *(text.decode() for text in texts))
    if isinstance(found, str):
        return _failed(f"pg_basebackup: error: {found}")
    there = files.find(path)
    if isinstance(there, SimFolder) and there.entries:
        return _failed(f'pg_basebackup: error: directory "{path}" exists but is not empty')
    try:
        folder = files.make_directory(path)
        if not found.in_recovery:
            found.storage.write("checkpoint")
            found.recycle()
        files.write(f"{path}/backup_label", b"START WAL LOCATION: ...\n", durable=False)
        copied = [(name, copy.copy(file)) for name, file in found.folder.files() if name not in _NOT_COPIED]
        await _copy(running, folder, copied[: len(copied) // 2], 0)
        await running.take(1.0)
        if not found.alive or found.frozen or not running.reaches(found):
            return _failed("pg_basebackup: error: could not read COPY data: server closed the connection unexpectedly")
        await _copy(running, folder, copied[len(copied) // 2 :], 50)
    except OSError as error:
        return _failed(f'pg_basebackup: error: could not write to file in "{path}": {error.strerror}')
    folder.put(CONTROL_FILE, SimFile(payload=found.storage.backup(), durable=False))
    return Completed(0)


async def _pg_rewind(running: Running) -> Completed:
    """The pages that differ are taken for all of them: half of the files first, and the control file last."""
    path, files = running.option("-D", "--target-pgdata"), running.machine.files
    parameters = parse_conninfo(running.option("--source-server"))
    source = running.network.listener(running.machine, parameters["host"], int(parameters["port"]))
    if source is None or source.frozen or not running.reaches(source):
        return _failed("pg_rewind: error: could not connect to server: Connection refused")
    user, passfile = parameters["user"], (files.read(parameters["passfile"]) or b"").decode()
    password = password_for(passfile, parameters["host"], int(parameters["port"]), user)
    encrypted = source.certificate is not None
    refusal = running.network.refusal(source, running.machine, "postgres", user, password, encrypted=encrypted)
    if refusal:
        return _failed(f"pg_rewind: error: could not connect to server: FATAL:  {refusal}")
    folder, control = files.folder(path), files.find(f"{path}/{CONTROL_FILE}")
    if not isinstance(control, SimFile) or not isinstance(control.payload, Storage):
        return _failed("pg_rewind: error: could not open the control file of the target")
    if control.payload.system_identifier != source.storage.system_identifier:
        return _failed("pg_rewind: error: source and target clusters are from different systems")
    if control.payload.timeline == source.storage.timeline:
        return Completed(0, b"", b"pg_rewind: source and target cluster are on the same timeline\n")
    said = b"pg_rewind: need to copy 1 MB\n"
    copied = [(name, copy.copy(file)) for name, file in source.folder.files() if name not in _NOT_COPIED]
    await _copy(running, folder, copied[: len(copied) // 2], 0)
    await running.take(1.0)
    if not source.alive or source.frozen or not running.reaches(source):
        return Completed(1, b"", said + b"pg_rewind: error: server closed the connection unexpectedly\n")
    await _copy(running, folder, copied[len(copied) // 2 :], 50)
    folder.entries.pop("postmaster.pid", None)
    files.write(f"{path}/backup_label", b"START WAL LOCATION: ...\n", durable=False)
    folder.put(CONTROL_FILE, SimFile(payload=source.storage.backup(), durable=False))
    return Completed(0, b"", said + b"pg_rewind: rewinding from last common checkpoint\n")


async def _copy(running: Running, folder: SimFolder, copied: list[tuple[str, SimFile]], percent: int) -> None:
    for name, file in copied:
        file.durable = False
        running.machine.files.require_room(file.occupied, name)
        folder.put(name, file)
    if running.on_output:
        running.on_output(f"{percent + 50}/100 kB ({percent + 50}%), 0/1 tablespace\r".encode())


async def _tail(running: Running) -> Completed:
    text = running.machine.files.read(running.argv[-1])
    if text is None:
        return _failed(f"tail: cannot open '{running.argv[-1]}' for reading: No such file or directory")
    lines = text.splitlines(keepends=True)
    return Completed(0, b"".join(lines[-int(running.argv[2]) :]))


async def _head(running: Running) -> Completed:
    """The first bytes of segments in pg_wal: -q -c COUNT PATH..."""
    count, found = int(running.argv[3]), b""
    for path in running.argv[4:]:
        folder, name = posixpath.split(path)
        segments = wal_files(running.machine.files, folder) or {}
        if name not in segments:
            return _failed(f"head: cannot open '{path}' for reading: No such file or directory")
        found += segments[name][:count]
    return Completed(0, found)


async def _rmdir(running: Running) -> Completed:
    path = running.argv[-1]
    try:
        if running.machine.files.folder(path).entries:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        running.machine.files.remove(path)
    except OSError as error:
        return _failed(f"rmdir: failed to remove '{posixpath.basename(path)}': {error.strerror}")
    return Completed(0)


async def _sh(running: Running) -> Completed:
    """A program in a folder: sh -c SCRIPT sh FOLDER PROGRAM ARGUMENT... Beside it what looks at hosts."""
    script = running.argv[2]
    if script == WHAT_A_HOST_IS:
        return _what_a_host_is(running)
    if script == WHOSE_HOME:
        key = f"ssh-ed25519 AAAA{running.machine.url.encode().hex()}"
        return Completed(0, f"postgres\n/home/postgres\n/home/postgres/.ssh/authorized_keys\n{key}\n".encode())
    if script == HELLO:
        return _hello(running)
    if script in (HANG_UP, END_LEFT_BEHIND):
        return Completed(0)
    if script in RECEIVING:
        return RECEIVING[script](running.network, running.machine, *running.argv[4:])
    found = running.machine.files.find(running.argv[5]) if len(running.argv) > 5 else None
    if not isinstance(found, SimFile) or not isinstance(found.payload, Program):
        return Completed(127, b"", b"sh: 1: not found\n")
    return await PROGRAMS[found.payload.name](replace(running, program=found.payload, argv=running.argv[5:]))


def _hello(running: Running) -> Completed:
    """What serve-wal on the archive's host answers, over ssh."""
    network, archive = running.network, running.network.archive_over_ssh
    if archive is None or not network.reaches(running.machine.url, archive[0].url):
        return Completed(255, b"", b"ssh: connect to host: Connection timed out\n")
    return Completed(0, f"{MARK}\nget put\n".encode())


async def _ssh_keygen(running: Running) -> Completed:
    path = running.option("-f")
    running.machine.files.write(path, b"secret")
    public = f"ssh-ed25519 AAAA{path.encode().hex()}{running.network.new_pid()}\n"
    running.machine.files.write(f"{path}.pub", public.encode())
    return Completed(0)


def _what_a_host_is(running: Running) -> Completed:
    """Its clock, its C library, and which of these it reaches: NAME ADDRESS PORT..."""
    network, words = running.network, running.argv[6:]
    lines = [f"{network.clock.now():.9f}", "glibc 2.36", "tried"]
    for name, address in zip(words[::3], words[1::3], strict=True):
        there = network.machine_at(address)
        if there is not None and network.reaches(running.machine.url, there.url):
            lines.append(f"{name} 0")
    return Completed(0, "\n".join(lines).encode() + b"\n")


async def _cp(running: Running) -> Completed:
    """Segments of pg_wal, into a folder: -p PATH... FOLDER/"""
    *paths, target = running.argv[2:]
    for path in paths:
        running.machine.files.write(f"{target}{posixpath.basename(path)}", b"WAL", durable=False)
    return Completed(0)


async def _du(running: Running) -> Completed:
    """Nothing here has a size."""
    return Completed(0, b"0\ttotal\n")


async def _id(running: Running) -> Completed:
    return Completed(0, b"postgres\n")


async def _echo(running: Running) -> Completed:
    return Completed(0, " ".join(running.argv[1:]).encode() + b"\n")


PROGRAMS: Mapping[str, Callable[[Running], Awaitable[Completed]]] = {
    "postgres": _postgres,
    "initdb": _initdb,
    "pg_controldata": _pg_controldata,
    "pg_ctl": _pg_ctl,
    "pg_basebackup": _pg_basebackup,
    "pg_rewind": _pg_rewind,
    "sh": _sh,
    "cp": _cp,
    "tail": _tail,
    "head": _head,
    "rmdir": _rmdir,
    "du": _du,
    "id": _id,
    "ssh-keygen": _ssh_keygen,
    "echo": _echo,
}


def install(machine: SimMachine, folder: str, major: int) -> None:
    """Puts the programs of a major version into a folder."""
    for name in ("postgres", "initdb", "pg_controldata", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_receivewal"):
        machine.files.root.put(f"{folder}/{name}".lstrip("/"), SimFile(mode=0o755, payload=Program(name, major)))
