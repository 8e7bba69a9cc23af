"""Every key of the topology file: its table, type, default, values and meaning in one line.

The reader, the "did you mean" hints, the comments of a rendered file and docs/topology.md all come from here.
"""

from enum import Enum

from pgtandem.model.topology import Binaries, Certificates, Compression, Durability
from pgtandem.model.value import dataclass


class Kind(Enum):
    """The type of a key, in the words of messages and of the docs."""

    TABLE = "table"
    TEXT = "text"
    INTEGER = "whole number"
    FLAG = "true or false"
    SETTINGS = "table of settings"
    LINES = "list of texts"
    TEXTS = "table of texts"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the table `table` ("" is the file itself). `example` is a TOML value.

    `default` is the value of a key that is not written; `default_words` says it where it depends on something
    else. `choices` are the only values there are; `values` says in words which ones are possible.
    """

    table: str
    name: str
    kind: Kind
    meaning: str
    example: str = ""
    default: str | int | bool | None = None
    default_words: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    values: str = ""

    @property
    def default_text(self) -> str:
        """The default as the docs show it."""
        if self.required:
            return "required"
        if self.default is None:
            return self.default_words or "none"
        return f'`"{self.default}"`' if isinstance(self.default, str) else f"`{str(self.default).lower()}`"

    @property
    def values_text(self) -> str:
        """The possible values in words, "" where the meaning says enough."""
        return self.values or ", ".join(self.choices)


#: The tables of the file, as their headings are written; NAME stands for a name.
CLUSTER, NODE, REPLICATION, ARCHIVE, TLS = "cluster", "nodes.NAME", "replication", "archive", "tls"
BACKUP = "backup"
PG_HBA, ADOPT, PGBOUNCER = "pg_hba", "adopt", "pgbouncers.NAME"

_TABLES = (
    Key("", "cluster", Kind.TABLE, "what the cluster is called and which PostgreSQL it runs", required=True),
    Key("", "nodes", Kind.TABLE, "one table per node; the first one starts as the primary", required=True),
    Key("", "replication", Kind.TABLE, "what a commit waits for"),
    Key("", "archive", Kind.TABLE, "where WAL is archived; without this table it is not archived"),
    Key("", "backup", Kind.TABLE, "how long base backups are kept; without this table none is removed"),
    Key("", "tls", Kind.TABLE, "encrypted connections; without this table they are not"),
    Key("", "parameters", Kind.SETTINGS, "PostgreSQL settings of all nodes"),
    Key("", "pg_hba", Kind.TABLE, "who else may connect"),
    Key("", "adopt", Kind.TABLE, "the cluster that is taken over, where pgtandem did not build it"),
    Key("", "pgbouncers", Kind.TABLE, "one table per PgBouncer whose databases follow the primary"),
)

_CLUSTER_KEYS = (
    Key(CLUSTER, "name", Kind.TEXT, "the name of the cluster", '"shop"', required=True),
    Key(CLUSTER, "postgresql", Kind.INTEGER, "the major version of PostgreSQL", "18", required=True, values="10 to 18"),
    Key(
        CLUSTER,
        "allow_untested_postgresql",
        Kind.FLAG,
        "whether `postgresql` may be newer than what pgtandem was tested with",
        "true",
        default=False,
    ),
    Key(
        CLUSTER,
        "binaries",
        Kind.TEXT,
        "where the programs are",
        '"/usr/lib/postgresql/18/bin"',
        default=Binaries.AUTO.value,
        values=f"{', '.join(place.value for place in Binaries)}, or an absolute path",
    ),
)

_NODE_KEYS = (
    Key(
        NODE,
        "host",
        Kind.TEXT,
        "the machine that the node runs on",
        '"local"',
        default="local",
        values='"local", "ssh://[user@]address[:port]"',
    ),
    Key(
        NODE,
        "address",
        Kind.TEXT,
        "the IP address or name that the other nodes and clients connect to",
        '"10.0.0.1"',
        default_words="`127.0.0.1`, or the address in `host`",
    ),
    Key(NODE, "port", Kind.INTEGER, "the port that the server listens on, 1024 to 65535", "5433", default=5432),
    Key(
        NODE,
        "data_directory",
        Kind.TEXT,
        "where the data is; a relative path begins at this file's folder",
        '"/var/lib/postgresql/18/shop"',
        default_words="`data/NAME` in this file's folder; over SSH `/var/lib/postgresql/MAJOR/CLUSTER`",
    ),
    Key(
        NODE,
        "wal_directory",
        Kind.TEXT,
        "where WAL is written (pg_wal), on another disk for instance",
        '"/fast/shop/wal"',
        default_words="in the data directory",
    ),
    Key(NODE, "zone", Kind.TEXT, "a label: nodes with the same zone can fail together", '"tokyo-a"'),
    Key(
        NODE,
        "upstream",
        Kind.TEXT,
        "the node that this one follows",
        '"db2"',
        default_words="whoever is the primary",
    ),
    Key(
        NODE,
        "apply_delay",
        Kind.TEXT,
        "how long it waits, as a standby, before it replays a commit that it has received",
        '"1h"',
        values="a whole number with ms, s, min, h or d",
    ),
    Key(
        NODE,
        "certificate",
        Kind.TEXT,
        "the file on the node's host with its certificate, where [tls] says that they are your own",
        '"/etc/ssl/certs/db1.crt"',
    ),
    Key(
        NODE,
        "certificate_key",
        Kind.TEXT,
        "the file on the node's host with the private key of that certificate",
        '"/etc/ssl/private/db1.key"',
    ),
    Key(
        NODE,
        "parameters",
        Kind.SETTINGS,
        "PostgreSQL settings of this node alone; they win over [parameters]",
        '{ work_mem = "64MB" }',
    ),
)

_REPLICATION_KEYS = (
    Key(
        REPLICATION,
        "durability",
        Kind.TEXT,
        "what a commit waits for",
        '"remote_apply"',
        default=Durability.ON.value,
        choices=tuple(level.value for level in Durability),
    ),
    Key(
        REPLICATION,
        "synchronous",
        Kind.TEXT,
        "how many standbys must confirm a commit",
        '"any 1"',
        default="none",
        values="none, first N, any N",
    ),
    Key(
        REPLICATION,
        "when_standbys_are_lost",
        Kind.TEXT,
        "when too few standbys are left to confirm",
        '"stop"',
        default="stop",
        choices=("stop", "degrade"),
        values="stop, later also degrade",
    ),
    Key(
        REPLICATION,
        "max_copy_rate",
        Kind.TEXT,
        "the most that copying a node may read and send per second",
        '"50MB"',
        default_words="no limit",
        values="32kB to 1GB",
    ),
)

_ARCHIVE_KEYS = (
    Key(
        ARCHIVE,
        "directory",
        Kind.TEXT,
        "the WAL archive; a relative path begins at this file's folder",
        '"/var/lib/pgtandem/archive"',
        default_words="required, unless there is a `command`",
    ),
    Key(
        ARCHIVE,
        "host",
        Kind.TEXT,
        "the machine that the WAL archive is on",
        '"local"',
        default_words="each node's own host",
        values='"local", "ssh://[user@]address[:port]"',
    ),
    Key(
        ARCHIVE,
        "compression",
        Kind.TEXT,
        "how WAL is stored; the program of that name must be installed on every host",
        '"zstd"',
        default=Compression.NONE.value,
        choices=tuple(form.value for form in Compression),
    ),
    Key(
        ARCHIVE,
        "level",
        Kind.INTEGER,
        "how hard it is compressed, 1 to 12 with lz4, 1 to 19 with zstd",
        "3",
        default=1,
    ),
    Key(
        ARCHIVE,
        "stream",
        Kind.FLAG,
        "whether the archive also gets WAL as it is written (pg_receivewal), so that what is lost with a primary is "
        "seconds and not a segment",
        "true",
        default=False,
    ),
    Key(
        ARCHIVE,
        "synchronous",
        Kind.FLAG,
        "whether the stream is one of the synchronous standbys: commits may then be confirmed by the archive",
        "true",
        default=False,
    ),
    Key(
        ARCHIVE,
        "command",
        Kind.TEXT,
        "the archive_command of another tool, which then keeps the archive instead of pgtandem",
        '"pgbackrest --stanza=shop archive-push %p"',
    ),
    Key(
        ARCHIVE,
        "restore",
        Kind.TEXT,
        "the restore_command that belongs to `command`",
        '"pgbackrest --stanza=shop archive-get %f %p"',
    ),
)

_BACKUP_KEYS = (
    Key(
        BACKUP,
        "keep",
        Kind.INTEGER,
        "how many full backups are kept, each with the incremental ones that continue it; older ones are removed after "
        "a backup",
        "7",
        default_words="all",
        values="1 or more",
    ),
    Key(
        BACKUP,
        "keep_for",
        Kind.TEXT,
        "how long a backup is kept; with `keep` too, what either of them keeps stays",
        '"14d"',
        default_words="for ever",
        values="a whole number with min, h or d",
    ),
    Key(
        BACKUP,
        "incremental",
        Kind.FLAG,
        "whether `pgtandem backup` copies only what changed since the last backup (17 and later)",
        "true",
        default=False,
    ),
    Key(
        BACKUP,
        "full_every",
        Kind.TEXT,
        "after which time it takes a full backup all the same",
        '"7d"',
        default="7d",
        values="a whole number with min, h or d",
    ),
)

_TLS_KEYS = (
    Key(
        TLS,
        "certificates",
        Kind.TEXT,
        "who makes the certificates of the nodes, pgtandem or you",
        '"own"',
        default=Certificates.MANAGED.value,
        choices=tuple(who.value for who in Certificates),
    ),
    Key(
        TLS,
        "required",
        Kind.FLAG,
        "whether connections over TCP without TLS are refused",
        "false",
        default=True,
    ),
    Key(
        TLS,
        "ca",
        Kind.TEXT,
        "the file with the CA certificates that signed your own; a relative path begins at this file's folder",
        '"/etc/ssl/certs/shop-ca.crt"',
    ),
)

_PG_HBA_KEYS = (
    Key(
        PG_HBA,
        "lines",
        Kind.LINES,
        "records that stand in the pg_hba.conf of every node, after those for replication",
        '["host app app 10.0.0.0/24 scram-sha-256"]',
        required=True,
    ),
)

_ADOPT_KEYS = (
    Key(
        ADOPT,
        "system_identifier",
        Kind.TEXT,
        "the cluster whose data directories may be taken over, as pg_controldata shows it",
        '"7564483649281330291"',
        required=True,
    ),
    Key(
        ADOPT,
        "replaces_roles",
        Kind.LINES,
        "what its standbys streamed as; they may not log in any more once nobody uses them",
        '["repl_user"]',
        default_words="none",
    ),
    Key(
        ADOPT,
        "replaces_slots",
        Kind.LINES,
        "the replication slots that its standbys used; dropped once nobody uses them",
        '["standby1"]',
        default_words="none",
    ),
)

_PGBOUNCER_KEYS = (
    Key(
        PGBOUNCER,
        "host",
        Kind.TEXT,
        "the machine that it runs on",
        '"ssh://10.0.0.8"',
        default="local",
        values='"local", "ssh://[user@]address[:port]"',
    ),
    Key(
        PGBOUNCER,
        "address",
        Kind.TEXT,
        "the IP address or name where its admin console is reached from its host",
        '"10.0.0.8"',
        default_words="`127.0.0.1`, or the address in `host`",
    ),
    Key(PGBOUNCER, "port", Kind.INTEGER, "the port that it listens on", "6432", default=6432),
    Key(
        PGBOUNCER,
        "file",
        Kind.TEXT,
        "the file that pgtandem writes, and that your pgbouncer.ini includes (`%include FILE`)",
        '"/var/lib/postgresql/pgbouncer-shop.ini"',
        required=True,
    ),
    Key(
        PGBOUNCER,
        "databases",
        Kind.TEXTS,
        "databases that lead to the primary: the name for clients, and the name on the servers",
        '{ shop = "shop" }',
    ),
    Key(
        PGBOUNCER,
        "read_only_databases",
        Kind.TEXTS,
        "databases that lead to standbys",
        '{ shop_ro = "shop" }',
    ),
    Key(
        PGBOUNCER,
        "options",
        Kind.TEXT,
        "what is added to each database, as it is",
        '"pool_size=50 pool_mode=transaction"',
    ),
    Key(
        PGBOUNCER,
        "admin_user",
        Kind.TEXT,
        "who pgtandem is on the admin console: one of its `admin_users`",
        '"pgtandem"',
        default="pgtandem",
    ),
    Key(
        PGBOUNCER,
        "admin_password_file",
        Kind.TEXT,
        "the file with that user's password, on the machine that pgtandem runs on, for its owner alone (mode 0600)",
        '"/etc/pgtandem/pgbouncer.password"',
    ),
)

KEYS: tuple[Key, ...] = (
    *_TABLES,
    *_CLUSTER_KEYS,
    *_NODE_KEYS,
    *_REPLICATION_KEYS,
    *_ARCHIVE_KEYS,
    *_BACKUP_KEYS,
    *_TLS_KEYS,
    *_PG_HBA_KEYS,
    *_ADOPT_KEYS,
    *_PGBOUNCER_KEYS,
)


def keys_of(table: str) -> dict[str, Key]:
    """The keys of one table by their names."""
    return {key.name: key for key in KEYS if key.table == table}


def tables_with(name: str) -> tuple[str, ...]:
    """The tables, except the file itself, that have a key of this name."""
    return tuple(key.table for key in KEYS if key.table and key.name == name)
