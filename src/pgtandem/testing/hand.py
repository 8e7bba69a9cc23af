"""What people and applications do to a simulated cluster, beside pgtandem: rows, slots, roles, files, accidents."""

from dataclasses import dataclass, field

from pgtandem.postgres.conf import parse_settings, render_settings
from pgtandem.postgres.settings import setting_spec
from pgtandem.testing.configuration import AUTO_FILE
from pgtandem.testing.files import SimFile, SimFolder
from pgtandem.testing.servers import SimServer
from pgtandem.testing.storage import SEGMENT, SimRole, SimSlot
from pgtandem.testing.world import SimWorld


@dataclass
class Hand:
    """`acknowledged` are the rows whose commit was confirmed to the application; `pending` those whose commit waits.

    `own` is what people made and pgtandem must leave alone: what it is, and how it looked.
    """

    world: SimWorld
    acknowledged: set[str] = field(default_factory=set)
    pending: list[tuple[SimServer, int, str]] = field(default_factory=list)
    own: dict[tuple[str, str, str], object] = field(default_factory=dict)
    _rows: int = 0

    # --- an application

    def insert(self) -> str | None:
        """Commits a row on the primary that the application finds first, None where there is none."""
        primary = next((server for server in self.world.servers if server.is_primary and server.answers), None)
        if primary is None:
            return None
        return self.insert_into(primary)

    def insert_into(self, primary: SimServer) -> str:
        """Commits a row on this primary."""
        self._rows += 1
        row = f"row {self._rows}"
        record = primary.storage.write("row", row, size=200)
        self.pending.append((primary, record.lsn, row))
        self.hear()
        return row

    def hear(self) -> None:
        """Takes note of the commits that were confirmed; those of a server that ended stay in doubt."""
        waiting = []
        for server, lsn, row in self.pending:
            if server.alive and self.world.network.confirmed(server, lsn):
                self.acknowledged.add(row)
            elif server.alive:
                waiting.append((server, lsn, row))
        self.pending = waiting

    def write_much(self, path: str, count: int) -> None:
        """An application writes so many bytes of WAL, and a checkpoint removes what is not needed any more."""
        server = self.world.server(path)
        if server is not None and server.is_primary:
            # No record crosses a boundary: who has a segment has all records that begin in it.
            server.storage.write("switch")
            for size in [SEGMENT] * (count // SEGMENT) + [count % SEGMENT]:
                server.storage.write("message", size=size)
            self.world.pass_time(1)
            server.storage.write("checkpoint")
            server.recycle()

    # --- what people make for themselves

    def make_slot(self, path: str, name: str) -> None:
        server = self.world.server(path)
        if server is not None:
            server.storage.slots[name] = SimSlot(restart_lsn=server.storage.checkpoint)
            self.own[("slot", path, name)] = self.look("slot", path, name)

    def make_role(self, path: str, name: str) -> None:
        server = self.world.server(path)
        if server is not None and server.is_primary:
            server.storage.write("role", name, SimRole(verifier="SCRAM-SHA-256$4096:own"))
            self.own[("role", path, name)] = self.look("role", path, name)

    def make_file(self, path: str, content: str) -> None:
        """Any file by its full path; folders are made."""
        self.world.machine.files.root.put(path.lstrip("/"), SimFile(content.encode(), 0o644))
        self.own[("file", path, "")] = self.look("file", path, "")

    def add_hba_line(self, path: str, line: str) -> None:
        """A line at the end of pg_hba.conf, which stays there whatever else changes."""
        self.append(path, "pg_hba.conf", line)
        self.own[("line", f"{path}/pg_hba.conf", line)] = True

    def look(self, kind: str, path: str, name: str) -> object:
        """How a thing is now; None where it is not there any more."""
        if kind in ("file", "line"):
            found = self.world.machine.files.find(path)
            if not isinstance(found, SimFile):
                return None
            return found.content if kind == "file" else name.encode() in found.content.splitlines()
        storage = dict(self.world.storages()).get(path)
        if storage is None:
            return None
        if kind == "role":
            role = storage.content.roles.get(name)
            return None if role is None else (role.superuser, role.replication, role.login, role.verifier)
        slot = storage.slots.get(name)
        return None if slot is None else slot.kind

    def keep_what_is_left(self) -> None:
        """What was destroyed by hand since is not to be looked for any more."""
        self.own = {key: self.look(*key) for key in self.own if self.look(*key)}

    # --- what people do to what is pgtandem's

    def edit(self, path: str, name: str, old: str, new: str) -> None:
        """Replaces text in a file of a data directory."""
        folder = self.world.folder(path)
        folder.put(name, SimFile((folder.text(name) or "").replace(old, new).encode()))

    def append(self, path: str, name: str, line: str) -> None:
        folder = self.world.folder(path)
        folder.put(name, SimFile(((folder.text(name) or "") + line + "\n").encode()))

    def remove(self, path: str) -> None:
        """rm -rf of a file or folder; a server in it is killed first."""
        found = self.world.machine.files.find(path)
        for server in self.world.servers:
            if server.folder is found:
                server.kill()
        if found is not None:
            self.world.machine.files.remove(path)

    def alter_system(self, path: str, name: str, value: str) -> None:
        """Nothing happens where the major version refuses it: primary_conninfo, say, is no setting up to 11."""
        folder = self.world.folder(path)
        if setting_spec(int(folder.text("PG_VERSION") or "0"), name) is None:
            return
        settings = parse_settings(folder.text(AUTO_FILE) or "") | {name: value}
        folder.put(AUTO_FILE, SimFile(render_settings(settings, "Do not edit this file manually!").encode()))

    def reload(self, path: str) -> None:
        server = self.world.server(path)
        if server is not None and server.answers:
            server.reload()

    def drop_slot(self, path: str, name: str) -> None:
        server = self.world.server(path)
        slot = server.storage.slots.pop(name, None) if server else None
        if slot is not None and isinstance(slot.holder, SimServer):
            slot.holder.hang_up()

    def change_password(self, path: str, role: str, verifier: str) -> None:
        server = self.world.server(path)
        if server is not None and server.is_primary:
            server.storage.write("role", role, SimRole(replication=True, verifier=verifier))

    def drop_role(self, path: str, role: str) -> None:
        server = self.world.server(path)
        if server is not None and server.is_primary:
            server.storage.write("drop role", role)

    def start(self, path: str, major: int) -> None:
        """pg_ctl start, to its end."""
        SimServer(self.world.network, self.world.machine_of(path), path, major, f"{path}.log").launch()
        self.world.pass_time(1)

    def promote(self, path: str) -> None:
        """pg_ctl promote: a new timeline begins."""
        server = self.world.server(path)
        if server is not None:
            server.promote()

    def swap_in(self, source: str, target: str) -> None:
        """Puts a copy of a folder in another's place."""
        files = self.world.machine.files
        copied = SimFolder()
        for name, file in files.folder(source).files():
            copied.put(name, SimFile(file.content, file.mode, file.payload, file.weight))
        self.remove(target)
        parent, _, name = target.rpartition("/")
        files.make_directory(parent).entries[name] = copied
