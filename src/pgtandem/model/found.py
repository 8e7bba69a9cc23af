"""A server that somebody else set up, as it was found: what a topology file is made of that describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgtandem.model.server import Server
from pgtandem.model.topology import HostAddress


@dataclass(frozen=True, slots=True)
class Found:
    """One running server. `host_name` is what its host calls itself, `programs` the folder of its programs, `recovery`
    what its recovery.conf says (up to 11), `wal_directory` where its pg_wal leads to, "" for nowhere else. `entries`
    are the names in its data directory."""

    host: HostAddress
    host_name: str
    port: int
    data_directory: str
    programs: str
    server: Server
    recovery: Mapping[str, str] = field(default_factory=dict)
    entries: tuple[str, ...] = ()
    wal_directory: str = ""

    def value(self, setting: str) -> str:
        """The value in force, "" where the server does not know the setting."""
        shown = self.server.settings.get(setting)
        return shown.value if shown else ""

    def recovery_value(self, setting: str) -> str:
        """A setting of recovery: in recovery.conf up to 11, an ordinary one from 12 on."""
        return self.recovery.get(setting, "") if self.server.major < 12 else self.value(setting)
