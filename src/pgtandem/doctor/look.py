"""What rules look at: the wish and both looks, and the questions that many rules ask of them."""

from collections.abc import Collection, Iterator

from pgtandem.model.examined import Examination, Examined
from pgtandem.model.facts import value_or_none
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.server import Sender, Server
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.conninfo import parse_conninfo
from pgtandem.postgres.owned import OWNED
from pgtandem.postgres.versions import has_standby_signal

#: How an empty text is shown.
_EMPTY = "''"


@dataclass(frozen=True, slots=True)
class Look:
    """The question to every rule. `sql_only` says that no host could be asked; the topology is what servers told."""

    topology: Topology
    observed: Observed
    examined: Examined
    sql_only: bool = False

    def psql(self, name: NodeName, *statements: str) -> str:
        """The command that asks a node's server; where there is no topology file, PostgreSQL's own client."""
        given = " ".join(f'-c "{statement}"' for statement in statements)
        if not self.sql_only:
            return f"pgtandem psql --node {name} {given}"
        node = self.topology.node(name)
        return f"psql -h {node.address} -p {node.port} -d postgres {given}"

    # --- who is who

    def servers(self) -> Iterator[tuple[NodeName, Server]]:
        """The servers that run and could be asked."""
        for name, seen in self.observed.nodes.items():
            if seen.running:
                yield name, seen.running

    def primaries(self) -> Iterator[tuple[NodeName, Server]]:
        return ((name, server) for name, server in self.servers() if not server.in_recovery)

    def standbys(self) -> Iterator[tuple[NodeName, Server]]:
        return ((name, server) for name, server in self.servers() if server.in_recovery)

    def primary(self) -> tuple[NodeName, Server] | None:
        """The primary, where there is exactly one."""
        found = list(self.primaries())
        return found[0] if len(found) == 1 else None

    def upstream(self, name: NodeName) -> NodeName | None:
        """Whom a node is to follow; None for the primary, and where there is no single one."""
        primary = self.primary()
        return self.topology.upstream_of(name, primary[0]) if primary else None

    def examinations(self) -> Iterator[tuple[NodeName, Server, Examination]]:
        for name, server in self.servers():
            examination = self.examination(name)
            if examination is not None:
                yield name, server, examination

    def examination(self, name: NodeName) -> Examination | None:
        fact = self.examined.nodes.get(name)
        return value_or_none(fact) if fact is not None else None

    def sender_of(self, standby: NodeName) -> tuple[NodeName, Sender] | None:
        """Who sends WAL to a node, as the upstream sees it."""
        called = self.calls_itself(standby)
        for name, server in self.servers():
            for sender in server.senders:
                if sender.application_name in (standby, called):
                    return name, sender
        return None

    def calls_itself(self, standby: NodeName) -> str:
        """A standby's application_name: "" where several have the same, or it gives none (manual, 20.6.2)."""
        given = {name: self.conninfo(name).get("application_name", "") for name, _ in self.standbys()}
        own = given.get(standby, "")
        return own if list(given.values()).count(own) == 1 else ""

    def is_listed(self, standby: NodeName, listed: Collection[str]) -> bool:
        """Whether a node is among these names of synchronous_standby_names, which are in lower case."""
        return bool({standby.lower(), self.calls_itself(standby).lower(), "*"} & {*listed})

    def late_on_purpose(self, name: NodeName) -> bool:
        """Whether the topology file wants a node to replay late, and it does: it may stop streaming meanwhile."""
        server = self.observed.nodes[name].running
        return self.topology.node(name).apply_delay is not None and server is not None and server.delaying

    @property
    def one_machine(self) -> bool:
        """Whether all nodes live on one host: what is lost with it is lost together anyway."""
        return len({node.host for node in self.topology.nodes}) == 1

    # --- settings

    def value(self, name: NodeName, setting: str) -> str:
        """The value in force on a running node, "" where the server does not know the setting."""
        server = self.observed.nodes[name].running
        found = server.settings.get(setting) if server else None
        return found.value if found else ""

    def number(self, name: NodeName, setting: str) -> int | None:
        """A whole number in the setting's base unit; None where the server does not know the setting."""
        text = self.value(name, setting)
        return int(text) if text.lstrip("-").isdigit() else None

    def archives(self, name: NodeName) -> bool:
        """Whether a server is to archive what it writes."""
        return self.value(name, "archive_mode") in ("on", "always")

    def recovery(self, name: NodeName, setting: str) -> str:
        """A setting of recovery: what is in force from 12 on, the line of recovery.conf before."""
        seen = self.observed.nodes[name]
        if seen.running and has_standby_signal(seen.running.major):
            return self.value(name, setting)
        text = seen.directory.files.get(RECOVERY_FILE) if seen.directory else None
        return parse_settings(text or "").get(setting, "")

    def recovery_seen(self, name: NodeName) -> bool:
        """Whether the settings of recovery are known: up to 11 recovery.conf has them, which SQL does not show."""
        seen = self.observed.nodes[name]
        return bool(seen.running and has_standby_signal(seen.running.major)) or seen.directory is not None

    def conninfo(self, name: NodeName) -> dict[str, str]:
        """The parameters of primary_conninfo; empty where it cannot be read."""
        try:
            return parse_conninfo(self.recovery(name, "primary_conninfo"))
        except ValueError:
            return {}

    def own_settings(self, name: NodeName) -> dict[str, str]:
        """What pgtandem wrote for a node."""
        data = self.observed.nodes[name].directory
        return parse_settings((data.files.get(SETTINGS_FILE) if data else None) or "")

    def where(self, name: NodeName, setting: str) -> str:
        """ "FILE:LINE" of a setting as far as known."""
        examination, server = self.examination(name), self.observed.nodes[name].running
        if examination and setting in examination.lines:
            file, line = examination.lines[setting]
            return f"{file}:{line}"
        found = server.settings.get(setting) if server else None
        return (found.source_file or "") if found else ""

    def shown(self, name: NodeName, *settings: str) -> str:
        """ "fsync = off, ..." """
        return ", ".join(f"{setting} = {self.value(name, setting) or _EMPTY}" for setting in settings)


def in_parameters(setting: str, value: str) -> str:
    """How a user of pgtandem sets it: by the topology file, or by what pgtandem decides itself."""
    if setting in OWNED:
        return "pgtandem apply"
    return f'{setting} = "{value}" under [parameters] in pgtandem.toml, then pgtandem apply'


def taken_out(look: Look, name: NodeName, setting: str) -> str:
    """How a setting goes that pgtandem would not write."""
    where = look.where(name, setting)
    if where.partition(":")[0].endswith("postgresql.auto.conf"):
        return look.psql(name, f"ALTER SYSTEM RESET {setting}", "SELECT pg_reload_conf()")
    return f"take {setting} out of {where or 'the configuration file'} and reload {name}"
