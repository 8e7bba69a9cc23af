"""A server as it was found: what a topology file is made of that describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgtandem.model.observed import Marker
from pgtandem.model.server import Server
from pgtandem.model.topology import HostAddress


@dataclass(frozen=True, slots=True)
class Found:
    """One running server. `host_name` is what its host calls itself, `programs` the folder of its programs, `recovery`
    what its recovery.conf says (up to 11), `wal_directory` where its pg_wal leads to, "" for nowhere else. `entries`
    are the names in its data directory.

    Where pgtandem built it, its data directory tells more: the `marker`, the settings that pgtandem has `written`, its
    block in pg_hba.conf, the address and port of every node in the file's order (`peers`), and the host that WAL is
    pushed to, with the folder there. `usual_programs` says that its programs are those that pgtandem takes by itself.
    """

    host: HostAddress
    host_name: str
    port: int
    data_directory: str
    programs: str
    server: Server
    recovery: Mapping[str, str] = field(default_factory=dict)
    entries: tuple[str, ...] = ()
    wal_directory: str = ""
    marker: Marker | None = None
    written: Mapping[str, str] = field(default_factory=dict)
    hba_block: str | None = None
    peers: tuple[tuple[str, int], ...] = ()
    wal_host: HostAddress | None = None
    wal_folder: str = ""
    usual_programs: bool = False

    def value(self, setting: str) -> str:
        """The value in force, "" where the server does not know the setting."""
        shown = self.server.settings.get(setting)
        return shown.value if shown else ""

    def recovery_value(self, setting: str) -> str:
        """A setting of recovery: in recovery.conf up to 11, an ordinary one from 12 on."""
        return self.recovery.get(setting, "") if self.server.major < 12 else self.value(setting)
