"""What must hold at every moment, whatever pgtandem does and wherever it is cut off."""

from pgtandem.testing.hand import Hand
from pgtandem.testing.probe import Call
from pgtandem.testing.storage import Storage
from pgtandem.testing.world import SimWorld

#: Calls after which a copy may be gone: looking for one takes its time. Of the programs, these change nothing.
_REMOVING = ("remove_tree", "remove_file", "rename", "run")
_LOOKING = ("pg_controldata", "tail", "head", "postgres --version")


class Violation(AssertionError):
    """Something happened that must never happen."""


class Checker:
    """A watcher of the probe: looks after every call that may have changed something.

    `found` keeps what was found, so that a test sees it even where somebody caught the exception. `leaving` are the
    nodes that a new topology no longer has. `two_allowed` says that somebody said of a primary that it is dead.
    """

    def __init__(self, world: SimWorld, hand: Hand) -> None:
        self.world = world
        self.hand = hand
        self.found: list[str] = []
        self.leaving: set[str] = set()
        self.two_allowed = False
        self._known: set[str] = set()
        self._copies = False
        world.probe.watchers.append(self.watch)

    def watch(self, call: Call) -> None:
        self.hand.hear()
        two = [] if self.two_allowed else _two_primaries(self.world)
        troubles = [*two, *_homeless(self.world), *_touched(self.hand)]
        troubles = [trouble for trouble in troubles + self._by_servers() if trouble not in self._known]
        removes = call.method in _REMOVING and not _looks(call)
        if call.method == "resume":
            troubles += _led_astray(self.world)
        if removes and self._copies and not complete_copies(self.world, self.hand):
            troubles.append("no complete copy of the acknowledged rows is left")
        if troubles:
            self.found += [f"{trouble}: {call}" for trouble in troubles]
            raise Violation("; ".join(self.found))
        if removes or not self._copies:
            self._copies = bool(self.hand.acknowledged and complete_copies(self.world, self.hand))

    def _by_servers(self) -> list[str]:
        """What servers reported; those that leave the cluster may run into a higher setting of the primary."""
        return [what for what in self.world.network.violations if what.partition(" ")[0] not in self.leaving]

    def forget(self) -> None:
        """After something was done by hand: what is lost then is not pgtandem's doing."""
        self.world.network.violations.clear()
        self._known = {*_two_primaries(self.world), *_homeless(self.world), *_touched(self.hand)}
        self._copies = False

    def require_nothing_found(self) -> None:
        """Raises Violation for what was found at any time."""
        if self.found or self._by_servers():
            raise Violation("; ".join([*self.found, *self._by_servers()]))


def _looks(call: Call) -> bool:
    """Whether a program was run that only looks; the subject is its whole command line."""
    program, _, rest = call.subject.partition(" ")
    return call.method == "run" and f"{program.rpartition('/')[2]} {rest}".startswith(_LOOKING)


def rows_of(storage: Storage) -> set[str]:
    """The rows that a data directory has, or will have when it has replayed its WAL."""
    return storage.content.rows | {record.name for record in storage.wal[storage.replayed :] if record.kind == "row"}


def complete_copies(world: SimWorld, hand: Hand) -> list[str]:
    """The data directories that have every acknowledged row."""
    return [path for path, storage in world.storages() if hand.acknowledged <= rows_of(storage)]


def _two_primaries(world: SimWorld) -> list[str]:
    seen: dict[str, str] = {}
    troubles = []
    for server in world.servers:
        if server.is_primary:
            system = server.storage.system_identifier
            if system in seen:
                troubles.append(f"{seen[system]} and {server.title} are both writable primaries")
            seen[system] = server.title
    return troubles


def _led_astray(world: SimWorld) -> list[str]:
    """Clients who were let go on, and find no server that takes their rows."""
    writable = {server.port for server in world.servers if server.is_primary}
    return [
        f"the clients of {database.name} were let go on to port {database.port}, where no primary is"
        for pgbouncer in world.pgbouncers
        for database in pgbouncer.databases.values()
        if not database.paused and not database.name.endswith("_ro") and database.port not in writable
    ]


def _homeless(world: SimWorld) -> list[str]:
    """Servers that live while their data directory was moved or removed."""
    return [
        f"the data directory of {server.title} was taken away while it runs"
        for server in world.servers
        if server.machine.files.find(server.path) is not server.folder
    ]


def _touched(hand: Hand) -> list[str]:
    return [
        f"{kind} {name or path}, which pgtandem did not make, was changed"
        for (kind, path, name), before in hand.own.items()
        if hand.look(kind, path, name) != before
    ]
