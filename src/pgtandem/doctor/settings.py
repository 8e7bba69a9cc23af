"""Settings: alike where roles may change, in force, from one source."""

from collections.abc import Iterator

from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.model.names import NodeName
from pgtandem.postgres.conf import SETTINGS_FILE
from pgtandem.postgres.settings import canonical, setting_spec
from pgtandem.postgres.versions import STANDBY_FLOOR

#: Settings that differ from node to node by their nature.
_OF_ONE_NODE = frozenset(
    {
        *("archive_command", "archive_mode", "cluster_name", "config_file", "data_directory", "external_pid_file"),
        *("hba_file", "hot_standby", "ident_file", "listen_addresses", "log_directory", "log_filename"),
        *("max_slot_wal_keep_size", "port", "primary_conninfo", "primary_slot_name", "restore_command"),
        *("recovery_min_apply_delay", "synchronous_commit", "synchronous_standby_names", "unix_socket_directories"),
        *("ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl"),
        *STANDBY_FLOOR,  # REP20
    }
)

_EMPTY = "''"


@rule(
    "REP19",
    Severity.MEDIUM,
    "hot_standby is off",
    why="A standby then answers nobody, so that its lag and health cannot be asked either. It shows what it is only "
    "when it is promoted.",
    fix="pgtandem apply",
)
def hot_standby(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        if look.value(name, "hot_standby") == "off":
            yield Seen(name, look.shown(name, "hot_standby"), look.where(name, "hot_standby"))


@rule(
    "REP20",
    Severity.HIGH,
    "a node could not follow another because a setting is lower",
    why="A standby whose max_connections or one of its kin is below the primary's stops with an error. After a "
    "promotion that hits every standby that is below the new primary.",
    fix="the same value for all nodes under [parameters] in pgtandem.toml, then pgtandem apply",
)
def below_the_primary(look: Look) -> Iterator[Seen]:
    for setting in STANDBY_FLOOR:
        values = {name: value for name, _ in look.servers() if (value := look.number(name, setting)) is not None}
        if not values:
            continue
        highest = max(values, key=lambda name: values[name])
        for name, value in values.items():
            if value < values[highest]:
                what = f"{setting} = {value}, and {values[highest]} on {highest}"
                yield Seen(name, what, look.where(name, setting))


@rule(
    "REP21",
    Severity.MEDIUM,
    "a setting differs between nodes and the topology file does not say so",
    why="After a change of roles the cluster behaves otherwise, and nobody knows why. A difference that is meant "
    "belongs into the topology file.",
    fix="the setting under [parameters], or under [nodes.NAME.parameters], then pgtandem apply",
)
def differs(look: Look) -> Iterator[Seen]:
    primary = look.primary()
    if primary is None:
        return
    meant = {key for node in look.topology.nodes for key in node.parameters}
    for name, server in look.standbys():
        for setting, own in server.settings.items():
            other = primary[1].settings.get(setting)
            if other is None or own.value == other.value or setting in meant | _OF_ONE_NODE:
                continue
            if "configuration file" in (own.source, other.source):
                what = f"{setting} = {own.value or _EMPTY} here, {other.value or _EMPTY} on {primary[0]}"
                where = look.where(name, setting) or look.where(primary[0], setting)
                yield Seen(name, what, where)


@rule(
    "REP30",
    Severity.MEDIUM,
    "configuration lies outside the data directory",
    why="A base backup does not bring it along. A new standby starts with other settings, or lets nobody in.",
    fix="copy the files with every new node, or include them from the data directory",
)
def outside(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        directory = look.value(name, "data_directory").rstrip("/")
        for setting in ("config_file", "hba_file", "ident_file"):
            value = look.value(name, setting)
            if directory and value.startswith("/") and not value.startswith(f"{directory}/"):
                yield Seen(name, f"{setting} = {value}")


@rule(
    "REP31",
    Severity.MEDIUM,
    "ALTER SYSTEM hides what the topology file says",
    why="postgresql.auto.conf is read last. What stands in the topology file is then not in force, and a change to it "
    "does nothing.",
    fix="pgtandem apply",
    by_sql=False,
)
def hidden(look: Look) -> Iterator[Seen]:
    for name, seen in look.observed.nodes.items():
        own, auto = look.own_settings(name), seen.directory.auto_settings if seen.directory else {}
        for setting in sorted(own.keys() & auto.keys()):
            if not _same(look, setting, own[setting], auto[setting]):
                what = f"{setting} = {auto[setting]} by ALTER SYSTEM, {own[setting]} in {SETTINGS_FILE}"
                yield Seen(name, what, look.where(name, setting))


def _same(look: Look, setting: str, one: str, other: str) -> bool:
    spec = setting_spec(look.topology.postgresql, setting)
    try:
        return one == other or (spec is not None and canonical(spec, one) == canonical(spec, other))
    except ValueError:
        return False


@rule(
    "REP32",
    Severity.MEDIUM,
    "settings wait for a restart",
    why="The server runs with other values than its files say. The next restart, planned or not, brings the change "
    "that nobody thinks of any more.",
    fix="pgtandem apply",
)
def pending(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        waiting = sorted(key for key, setting in server.settings.items() if setting.pending_restart)
        if waiting:
            yield Seen(name, ", ".join(waiting), look.where(name, waiting[0]))


@rule(
    "REP33",
    Severity.HIGH,
    "a line of a configuration file is wrong",
    why="A reload with such a line changes nothing at all, whatever else was edited. The next start fails.",
    fix="mend the line, then reload",
)
def file_errors(look: Look) -> Iterator[Seen]:
    for name, _, examination in look.examinations():
        for wrong in examination.file_errors:
            yield Seen(name, wrong.error, f"{wrong.file}:{wrong.line}" if wrong.file else "")


def _settings_of(look: Look, setting: str, bad: str) -> Iterator[NodeName]:
    return (name for name, _ in look.servers() if look.value(name, setting) == bad)


@rule(
    "STB05",
    Severity.HIGH,
    "full_page_writes is off",
    why="A crash in the middle of a page write leaves a page that WAL cannot mend. pg_rewind is refused, and base "
    "backups of such a server may be damaged.",
    fix='full_page_writes = "on" under [parameters] in pgtandem.toml, then pgtandem apply',
)
def full_page_writes(look: Look) -> Iterator[Seen]:
    for name in _settings_of(look, "full_page_writes", "off"):
        yield Seen(name, look.shown(name, "full_page_writes"), look.where(name, "full_page_writes"))


@rule(
    "STB20",
    Severity.CRITICAL,
    "fsync is off",
    why="After a power failure or a crash of the system the data is damaged beyond repair. On a standby that is the "
    "copy that a failover counts on.",
    fix='fsync = "on" under [parameters] in pgtandem.toml, then pgtandem apply',
)
def fsync(look: Look) -> Iterator[Seen]:
    for name in _settings_of(look, "fsync", "off"):
        yield Seen(name, look.shown(name, "fsync"), look.where(name, "fsync"))


@rule(
    "STB04",
    Severity.HIGH,
    "an old primary could not be rewound",
    why="pg_rewind needs data checksums or wal_log_hints, from before the accident. Without them an old primary is "
    "copied anew, however large it is.",
    fix='wal_log_hints = "on" under [parameters] in pgtandem.toml, then pgtandem apply',
)
def no_rewind(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        if look.value(name, "data_checksums") == "off" and look.value(name, "wal_log_hints") == "off":
            yield Seen(name, look.shown(name, "data_checksums", "wal_log_hints"), look.where(name, "wal_log_hints"))
