"""A Topology to the commented text of a topology file, as `pgtandem init` writes it."""

import posixpath
from collections.abc import Mapping

from pgtandem.model.topology import (
    LOCAL,
    Adoption,
    BackupPolicy,
    Binaries,
    Certificates,
    Compression,
    ForeignArchive,
    HostAddress,
    Node,
    Pgbouncer,
    Replication,
    Tls,
    Topology,
)
from pgtandem.postgres.versions import untested
from pgtandem.topology.backup import duration_text
from pgtandem.topology.keys import ADOPT, ARCHIVE, BACKUP, CLUSTER, NODE, PGBOUNCER, REPLICATION, TLS, keys_of
from pgtandem.topology.places import absolute, host_name, is_below
from pgtandem.topology.toml import quote_key, quote_text

_HEAD = """\
# The cluster that pgtandem builds and keeps right. Change this file, then: pgtandem plan, pgtandem apply.
# All keys: docs/topology.md
"""
_COMMENT_COLUMN = 36
_DEFAULT_PORT = 5432


def render_topology(topology: Topology, *, folder: str) -> str:
    """TOML that `load_topology` reads back as the same topology. Paths below `folder`, the absolute path of
    the file's folder, are written relative."""
    folder = absolute(folder, "/")
    parts = [
        _HEAD,
        _cluster(topology),
        *(_node(node, folder, number == 0) for number, node in enumerate(topology.nodes)),
        _next_node(topology),
        _replication(topology.replication),
        _foreign(topology.foreign_archive) if topology.foreign_archive else _archive(topology, folder),
        *([_backup(topology.backup)] if topology.backup != BackupPolicy() else []),
        _tls(topology.tls, folder),
        _parameters(topology.parameters),
        *([_pg_hba(topology.hba_lines)] if topology.hba_lines else []),
        *([_adopt(topology.adoption)] if topology.adoption else []),
        *(_pgbouncer(pgbouncer, folder) for pgbouncer in topology.pgbouncers),
    ]
    return "\n".join(parts)


def _cluster(topology: Topology) -> str:
    place = topology.bin_directory or topology.binaries.value
    lines = [
        "[cluster]",
        _line(CLUSTER, "name", quote_text(topology.cluster)),
        _line(CLUSTER, "postgresql", str(topology.postgresql)),
        _line(CLUSTER, "binaries", quote_text(place), off=place == Binaries.AUTO.value),
    ]
    if untested(topology.postgresql):
        lines.insert(3, _line(CLUSTER, "allow_untested_postgresql", "true"))
    return _text(lines)


def _node(node: Node, folder: str, first: bool) -> str:
    lines = [f"[nodes.{quote_key(node.name)}]"]
    if first:
        lines[0] = f"{lines[0]:<{_COMMENT_COLUMN}}# the first node starts as the primary"
    if node.host != LOCAL:
        lines.append(_line(NODE, "host", quote_text(node.host.url), first))
    if node.address != (host_name(node.host) or "127.0.0.1"):
        lines.append(_line(NODE, "address", quote_text(node.address), first))
    lines.append(_line(NODE, "port", str(node.port), first))
    lines.append(_line(NODE, "data_directory", quote_text(_path(node.data_directory, node.host, folder)), first))
    if node.wal_directory is not None:
        lines.append(_line(NODE, "wal_directory", quote_text(_path(node.wal_directory, node.host, folder))))
    if node.upstream is not None:
        lines.append(_line(NODE, "upstream", quote_text(node.upstream)))
    if node.zone is not None:
        lines.append(_line(NODE, "zone", quote_text(node.zone)))
    if node.apply_delay is not None:
        lines.append(_line(NODE, "apply_delay", quote_text(node.apply_delay)))
    for name, value in (("certificate", node.certificate), ("certificate_key", node.certificate_key)):
        if value is not None:
            lines.append(_line(NODE, name, quote_text(value), first))
    if node.parameters:
        lines += ["", f"[nodes.{quote_key(node.name)}.parameters]", *_settings(node.parameters)]
    return _text(lines)


def _next_node(topology: Topology) -> str:
    """One more node as a comment, with a name and a port that are free."""
    free = next(name for number in range(1, len(topology.nodes) + 2) if (name := f"db{number}") not in topology.names)
    ports = [node.port for node in topology.nodes] or [_DEFAULT_PORT - 1]
    port = max(ports) + 1 if max(ports) < 65535 else min(ports) - 1
    lines = ["# One more standby: remove the # of these lines.", f"# [nodes.{free}]"]
    if topology.nodes and not topology.nodes[-1].host.is_local:
        lines.append('# host = "ssh://..."')
        port = topology.nodes[-1].port
    lines.append(f"# port = {port}")
    if topology.nodes:
        name = quote_text(topology.nodes[-1].name)
        lines.append(_line(NODE, "upstream", name, off=True) + "; without it: whoever is the primary")
    return _text(lines)


def _replication(replication: Replication) -> str:
    lines = [
        "[replication]",
        _line(REPLICATION, "durability", quote_text(replication.durability.value)),
        _line(REPLICATION, "synchronous", quote_text(str(replication.synchronous))),
        _line(REPLICATION, "when_standbys_are_lost", quote_text("stop"), off=True),
    ]
    if replication.copy_bytes_per_second is not None:
        lines.append(_line(REPLICATION, "max_copy_rate", quote_text(f"{replication.copy_bytes_per_second // 1024}kB")))
    return _text(lines)


def _archive(topology: Topology, folder: str) -> str:
    archive, off = topology.archive, topology.archive is None
    away = not any(node.host.is_local for node in topology.nodes)
    if archive is None:
        directory = "/var/lib/postgresql/archive" if away else "archive"
    else:
        directory = _path(archive.directory, archive.host or HostAddress(""), folder)
    lines = [
        "# [archive]" if off else "[archive]",
        _line(ARCHIVE, "directory", quote_text(directory), off=off),
    ]
    if archive is not None and archive.host not in (None, LOCAL):
        lines.append(_line(ARCHIVE, "host", quote_text(archive.host.url)))
    elif archive is None and away:
        lines.append(_line(ARCHIVE, "host", quote_text("ssh://..."), off=True))
    if archive is not None and archive.compression is not Compression.NONE:
        lines.append(_line(ARCHIVE, "compression", quote_text(archive.compression.value)))
    if archive is not None and archive.level != 1:
        lines.append(_line(ARCHIVE, "level", str(archive.level)))
    if archive is not None and archive.stream:
        lines.append(_line(ARCHIVE, "stream", "true"))
    if archive is not None and archive.synchronous:
        lines.append(_line(ARCHIVE, "synchronous", "true"))
    return _text(lines)


def _foreign(archive: ForeignArchive) -> str:
    commands = (("command", archive.command), ("restore", archive.restore))
    return _text(["[archive]", *(_line(ARCHIVE, name, quote_text(text)) for name, text in commands)])


def _backup(policy: BackupPolicy) -> str:
    lines = ["[backup]"]
    if policy.keep is not None:
        lines.append(_line(BACKUP, "keep", str(policy.keep)))
    if policy.keep_for_seconds is not None:
        lines.append(_line(BACKUP, "keep_for", quote_text(duration_text(policy.keep_for_seconds))))
    if policy.incremental:
        lines.append(_line(BACKUP, "incremental", "true"))
    if policy.full_every_seconds != BackupPolicy().full_every_seconds:
        lines.append(_line(BACKUP, "full_every", quote_text(duration_text(policy.full_every_seconds))))
    return _text(lines)


def _tls(tls: Tls | None, folder: str) -> str:
    off, tls = tls is None, tls or Tls()
    lines = [
        "# [tls]" if off else "[tls]",
        _line(TLS, "certificates", quote_text(tls.certificates.value), off=off),
        _line(TLS, "required", str(tls.required).lower(), off=off or tls.required),
    ]
    if tls.certificates is Certificates.OWN and tls.ca is not None:
        lines.append(_line(TLS, "ca", quote_text(_relative(tls.ca, folder))))
    return _text(lines)


def _parameters(parameters: Mapping[str, str]) -> str:
    lines = [f"{'[parameters]':<{_COMMENT_COLUMN}}# any PostgreSQL setting, for all nodes"]
    if parameters:
        return _text([*lines, *_settings(parameters)])
    examples = ('shared_buffers = "1GB"', "max_connections = 200", '"pg_stat_statements.max" = 10000')
    return _text([*lines, *(f"# {example}" for example in examples)])


def _pg_hba(lines: tuple[str, ...]) -> str:
    return _text(["[pg_hba]", "lines = [", *(f"    {quote_text(line)}," for line in lines), "]"])


def _adopt(adoption: Adoption) -> str:
    lines = [
        "[adopt]",
        f"# {keys_of('')['adopt'].meaning}; without this table pgtandem refuses its data directories",
        f"system_identifier = {quote_text(adoption.system_identifier)}",
    ]
    for name, values in (("replaces_roles", adoption.roles), ("replaces_slots", adoption.slots)):
        if values:
            lines += [f"# {keys_of(ADOPT)[name].meaning}", f"{name} = [{', '.join(map(quote_text, values))}]"]
    return _text(lines)


def _pgbouncer(pgbouncer: Pgbouncer, folder: str) -> str:
    lines = [f"[pgbouncers.{quote_key(pgbouncer.name)}]"]
    if pgbouncer.host != LOCAL:
        lines.append(_line(PGBOUNCER, "host", quote_text(pgbouncer.host.url)))
    if pgbouncer.address != (host_name(pgbouncer.host) or "127.0.0.1"):
        lines.append(_line(PGBOUNCER, "address", quote_text(pgbouncer.address)))
    lines.append(_line(PGBOUNCER, "port", str(pgbouncer.port)))
    lines.append(_line(PGBOUNCER, "file", quote_text(_path(pgbouncer.file, pgbouncer.host, folder))))
    for name, databases in (
        ("databases", pgbouncer.databases),
        ("read_only_databases", pgbouncer.read_only_databases),
    ):
        if databases:
            inner = ", ".join(f"{quote_key(key)} = {quote_text(value)}" for key, value in databases.items())
            lines.append(_line(PGBOUNCER, name, f"{{ {inner} }}"))
    if pgbouncer.options:
        lines.append(_line(PGBOUNCER, "options", quote_text(pgbouncer.options)))
    lines.append(_line(PGBOUNCER, "admin_user", quote_text(pgbouncer.admin_user)))
    if pgbouncer.admin_password_file is not None:
        path = quote_text(_relative(pgbouncer.admin_password_file, folder))
        lines.append(_line(PGBOUNCER, "admin_password_file", path))
    return _text(lines)


def _settings(parameters: Mapping[str, str]) -> list[str]:
    return [f"{quote_key(name)} = {quote_text(value)}" for name, value in parameters.items()]


def _line(table: str, name: str, value: str, comment: bool = True, *, off: bool = False) -> str:
    """One key with its meaning and its values; with `off` as a comment."""
    line = f"# {name} = {value}" if off else f"{name} = {value}"
    if not comment:
        return line
    key = keys_of(table)[name]
    meaning = f"{key.meaning}: {key.values_text}" if key.values_text else key.meaning
    return f"{line:<{_COMMENT_COLUMN - 1}} # {meaning}"


def _path(path: str, host: HostAddress, folder: str) -> str:
    return _relative(path, folder) if host.is_local else path


def _relative(path: str, folder: str) -> str:
    if not is_below(path, folder):
        return path
    inner = path[len(folder) :].lstrip("/")
    # A "~" at the beginning is refused when the file is read.
    return posixpath.join(".", inner) if inner.startswith("~") else inner


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
