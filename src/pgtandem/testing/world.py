"""The whole simulated world: machines, servers, pgtandem's workspace, and what may befall them."""

from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from pgtandem.ports import World
from pgtandem.postgres.stream_scripts import WANTED
from pgtandem.testing.certificates import SimCertificates
from pgtandem.testing.clock import SimClock
from pgtandem.testing.database import SimDatabase
from pgtandem.testing.files import SimFileSystem, SimFolder
from pgtandem.testing.host import SimHost
from pgtandem.testing.network import SimMachine, SimNetwork
from pgtandem.testing.pgbouncer import SimPgbouncer
from pgtandem.testing.probe import Killed, Probe
from pgtandem.testing.programs import install
from pgtandem.testing.servers import SimServer
from pgtandem.testing.storage import CONTROL_FILE, Storage
from pgtandem.testing.workspace import MemoryWorkspace

T = TypeVar("T")

GIGABYTE = 1024**3


class SimWorld:
    """One machine ("local") with PostgreSQL installed, and nothing else yet; or several by their addresses ("10.0.0.1"
    is the host ssh://10.0.0.1), and pgtandem on a seat of its own.

    `ports` gives what a fresh pgtandem process sees; `run` runs a coroutine in virtual time. What befalls the world
    between two runs, or from a hook of the probe at any call, are the methods below; what a person would do by hand is
    in `hand`.
    """

    def __init__(
        self,
        *,
        majors: tuple[int, ...] = (11, 12, 13, 14, 15, 16, 17, 18),
        disk_bytes: int = 100 * GIGABYTE,
        addresses: tuple[str, ...] = (),
    ) -> None:
        self.clock = SimClock()
        self.network = SimNetwork(self.clock)
        self.probe = Probe()
        self.probe.time_passes = self.network.settle
        self.workspace = MemoryWorkspace(self.probe)
        self.machine = SimMachine("local", SimFileSystem(disk_bytes, "disk1"))
        self.network.machines.append(self.machine)
        for number, address in enumerate(addresses, 2):
            files = SimFileSystem(disk_bytes, f"disk{number}")
            self.network.machines.append(SimMachine(f"ssh://{address}", files, (address,)))
        for machine in self.network.machines:
            for major in majors:
                install(machine, f"/usr/lib/postgresql/{major}/bin", major)
        self.certificates = SimCertificates()
        self.pgbouncers: list[SimPgbouncer] = []
        self.hosts = {machine.url: SimHost(self.network, machine, self.probe) for machine in self.network.machines}
        self.host = self.hosts["local"]

    def ports(self) -> World:
        """A new process of pgtandem: nothing is left of one before but what the workspace has."""
        self.probe.reset()
        self.workspace.locked_by = None
        for host in self.hosts.values():
            host.connected = False
        database = SimDatabase(self.network, self.machine, self.probe, self.pgbouncers)
        return World(dict(self.hosts), database, self.workspace, self.clock, self.certificates)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Raises Killed where the hook killed pgtandem."""
        return self.clock.run(coroutine)

    def pass_time(self, seconds: float, step: float = 0.1) -> None:
        """Lets the servers live on while no pgtandem looks."""
        for _ in range(max(round(seconds / step), 1)):
            self.clock.advance(step)
            self.network.settle()

    # --- looking

    @property
    def servers(self) -> list[SimServer]:
        """Every server process that lives."""
        return list(self.network.servers)

    def server(self, path: str) -> SimServer | None:
        """The living server of a data directory."""
        folder = self.machine_of(path).files.find(path)
        return next((server for server in self.network.servers if server.folder is folder), None)

    def machine_of(self, path: str) -> SimMachine:
        """The machine on which something stands at a path; the first one where that is nowhere."""
        machines = self.network.machines
        return next((machine for machine in machines if machine.files.find(path) is not None), machines[0])

    def storages(self) -> list[tuple[str, Storage]]:
        """Every whole data directory on every machine, by its path."""
        return [found for machine in self.network.machines for found in _storages(machine.files.root, "")]

    def storage_of(self, path: str) -> Storage:
        """What a data directory has. Raises KeyError where there is none."""
        return dict(self.storages())[path]

    def folder(self, path: str) -> SimFolder:
        return self.machine_of(path).files.folder(path)

    # --- what may befall it

    def kill_pgtandem(self) -> None:
        """From a hook of the probe: this call is the last."""
        raise Killed

    def kill_server(self, path: str) -> None:
        """kill -9 of a server."""
        server = self.server(path)
        if server is not None:
            server.kill()

    def kill_receivers(self) -> None:
        """kill -9 of every receiver of an archive's stream, with what would start it again within a second."""
        for receiver in list(self.network.receivers):
            receiver.kill()

    def freeze_receivers(self, frozen: bool = True) -> None:
        for receiver in self.network.receivers:
            receiver.frozen = frozen

    def start_receivers(self) -> None:
        """What systemd or cron does: every receiver that is wanted runs."""
        for machine in self.network.machines:
            for path, _ in machine.files.root.files():
                folder, _, name = path.rpartition("/")
                if name == WANTED:
                    self.network.start_receiver(machine, f"/{folder.rpartition('/')[0]}")

    def freeze_server(self, path: str, frozen: bool = True) -> None:
        """SIGSTOP (or SIGCONT): it holds its port and answers nobody."""
        server = self.server(path)
        if server is not None:
            server.frozen = frozen
            if server.quits and not frozen:
                server.kill()

    def stop_server(self, path: str) -> None:
        """A fast shutdown, to its end."""
        server = self.server(path)
        if server is not None:
            server.request_stop()
            self.pass_time(1)

    def power_off(self) -> None:
        """Every server is gone at once, and with them what was never made durable."""
        for server in self.servers:
            server.kill()
        self.kill_receivers()
        for machine in self.network.machines:
            machine.files.lose_power()

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from one machine (its url, or CONTROL) to another, until `heal`. One way: cut both for both."""
        self.network.cuts.add((source, target))

    def heal(self) -> None:
        self.network.cuts.clear()

    def fill_disk(self, free_bytes: int) -> None:
        """Something else takes the room."""
        files = self.machine.files
        files.write("/ballast", b"", weight=max(files.free_bytes - free_bytes, 0))

    def empty_disk(self) -> None:
        """The room is given back."""
        if self.machine.files.find("/ballast") is not None:
            self.machine.files.remove("/ballast")


def _storages(folder: SimFolder, path: str) -> Iterator[tuple[str, Storage]]:
    control = folder.file(CONTROL_FILE) if "global" in folder.entries else None
    if control is not None and isinstance(control.payload, Storage):
        yield path, control.payload
        return
    for name, entry in list(folder.entries.items()):
        if isinstance(entry, SimFolder):
            yield from _storages(entry, f"{path}/{name}")
