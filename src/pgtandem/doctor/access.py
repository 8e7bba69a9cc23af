"""Who is let in, as whom, and how well that is kept: passwords, pg_hba.conf, roles, TLS."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from pgtandem.doctor.look import Look, in_parameters
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.model.facts import value_or_none
from pgtandem.model.names import REPLICATION_ROLE, SUPERUSER, NodeName
from pgtandem.model.server import HbaRule, Server

_DAY = 24 * 3600.0
_EXPIRES_SOON_SECONDS = 30 * _DAY
#: Networks with more addresses than this are no list of hosts any more.
_WIDE = 1 << 16


def _replication_users(look: Look) -> set[str]:
    """The roles that standbys stream as, or are told to."""
    users = {look.conninfo(name).get("user", "") for name, _ in look.standbys()}
    for _, _, examination in look.examinations():
        users |= set(examination.sender_users.values())
    return users - {""}


def _hba_where(look: Look, name: NodeName, line: HbaRule) -> str:
    file = look.value(name, "hba_file") or f"{look.topology.node(name).data_directory}/pg_hba.conf"
    return f"{file}:{line.line}"


def _shown(line: HbaRule) -> str:
    parts = (line.kind, ",".join(line.databases), ",".join(line.users), line.address or "", line.method)
    return " ".join(part for part in parts if part)


def _for_replication(line: HbaRule) -> bool:
    # "all" among databases does not mean replication (manual, 21.1).
    return "replication" in line.databases


def _is_wide(address: str | None) -> bool:
    if address == "all":
        return True
    try:
        return ip_network(address or "", strict=False).num_addresses > _WIDE
    except ValueError:
        return False


def _is_loopback(address: str | None) -> bool:
    if address in (None, "localhost"):
        return True
    try:
        return ip_network(address or "", strict=False).is_loopback
    except ValueError:
        return False


@rule(
    "REP01",
    Severity.HIGH,
    "a password stands in primary_conninfo",
    why="Everybody who may read the configuration, a backup of it or pg_settings as a superuser reads the password "
    "too. A passfile with mode 0600 serves as well and is not copied around.",
    fix="pgtandem apply",
)
def password_in_conninfo(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        if "password" in look.conninfo(name):
            yield Seen(name, "primary_conninfo has password=****", look.where(name, "primary_conninfo"))


@rule(
    "REP02",
    Severity.HIGH,
    "the passfile of a node lacks what replication needs",
    why="The node could not log in at the others: as a standby it stops streaming at the next interruption. After a "
    "change of roles it would not stream at all.",
    fix="pgtandem apply",
    by_sql=False,
)
def passfile(look: Look) -> Iterator[Seen]:
    for name, seen in look.observed.nodes.items():
        data = seen.directory
        if data and data.marker and not data.passfile_ok:
            path = f"{look.topology.node(name).data_directory}/pgtandem/passfile"
            yield Seen(name, "it is missing, or does not have the line of every node", path)


@rule(
    "REP03",
    Severity.HIGH,
    "passwords are stored or asked for as MD5",
    why="Who sees an MD5 hash can log in with it, without ever knowing the password. PostgreSQL 18 warns of it, and a "
    "later version will not know it any more.",
    fix="set the password again with password_encryption = scram-sha-256, then write scram-sha-256 in pg_hba.conf",
)
def md5(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        if look.value(name, "password_encryption") in ("md5", "on"):
            setting = "password_encryption"
            fix = in_parameters(setting, "scram-sha-256")
            yield Seen(name, look.shown(name, setting), look.where(name, setting), fix)
        for line in server.hba:
            if line.method == "md5" and line.error is None and _for_replication(line):
                yield Seen(name, _shown(line), _hba_where(look, name, line))
    primary = look.primary()
    examination = look.examination(primary[0]) if primary else None
    for role in examination.roles.values() if primary and examination else ():
        if role.password_kind in ("md5", "plain"):
            yield Seen(
                primary[0] if primary else None, f"the password of role {role.name} is stored as {role.password_kind}"
            )


@rule(
    "REP04",
    Severity.CRITICAL,
    "everybody may connect without a password, or from anywhere for replication",
    why="Who may open a replication connection may copy the whole cluster, every table and every password hash in it. "
    "trust asks for nothing at all, and a whole network of addresses is no list of standbys.",
    fix="one line per host with scram-sha-256; [pg_hba] in pgtandem.toml has the records for clients",
)
def trust(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        for line in server.hba:
            if line.error is not None or line.method == "reject":
                continue
            if line.method == "trust" and (line.kind != "local" or _for_replication(line)):
                severity = Severity.HIGH if line.kind == "local" or _is_loopback(line.address) else None
                yield Seen(name, _shown(line), _hba_where(look, name, line), severity=severity)
            elif _for_replication(line) and _is_wide(line.address):
                yield Seen(name, _shown(line), _hba_where(look, name, line), severity=Severity.HIGH)


def _decides(line: HbaRule, user: str, address: str) -> bool | None:
    """Whether a line is the one for a replication connection over TCP; None where that cannot be told from here."""
    if line.error is not None or line.kind == "local" or not _for_replication(line):
        return False
    if user not in line.users and "all" not in line.users:
        return None if any(entry.startswith(("+", "/")) for entry in line.users) else False
    if line.address == "all":
        return True
    try:
        return ip_address(address) in ip_network(line.address or "", strict=False)
    except ValueError:
        return None


def _lets_in(server: Server, user: str, address: str) -> bool:
    """Whether the first line that fits lets a standby in; where that cannot be told, it does."""
    for line in server.hba:
        fits = _decides(line, user, address)
        if fits is None:
            return True
        if fits:
            return line.method != "reject"
    return False


@rule(
    "REP05",
    Severity.HIGH,
    "pg_hba.conf does not let every node stream from every other",
    why="Today's roles work, and the day they change the new standby is refused by the new primary. That is found out "
    "in the middle of a failover.",
    fix="pgtandem apply",
)
def not_symmetric(look: Look) -> Iterator[Seen]:
    users = sorted(_replication_users(look))
    for name, server in look.servers():
        for other in look.topology.nodes:
            if other.name == name or not server.hba:
                continue
            for user in users:
                if not _lets_in(server, user, other.address):
                    what = f"no line lets {user} of {other.name} ({other.address}) in for replication"
                    yield Seen(name, what, look.value(name, "hba_file"))


@rule(
    "REP06",
    Severity.HIGH,
    "a line of pg_hba.conf is wrong",
    why="With one line that it cannot read, the server goes on with the rules that it read before. It would not start "
    "again with them.",
    fix="mend the line; records for clients belong under [pg_hba] in pgtandem.toml",
)
def hba_errors(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        for line in server.hba:
            if line.error is not None:
                severity = None if line.broken else Severity.LOW
                yield Seen(name, line.error, _hba_where(look, name, line), severity=severity)


@rule(
    "REP07",
    Severity.HIGH,
    "a node listens where the other hosts cannot reach it",
    why="A server that listens at the loopback address only lets nobody in from another host. As a primary it would "
    "have no standbys.",
    fix="pgtandem apply",
    by_sql=False,
)
def listens_locally(look: Look) -> Iterator[Seen]:
    if look.one_machine:
        return
    for name, _ in look.servers():
        addresses = [each.strip() for each in look.value(name, "listen_addresses").split(",") if each.strip()]
        if all(_is_loopback(address) for address in addresses):
            yield Seen(name, look.shown(name, "listen_addresses"), look.where(name, "listen_addresses"))


@rule(
    "REP22",
    Severity.HIGH,
    "the role that standbys stream as is not fit for it",
    why="A password that expires or a limit of connections ends replication days after it was set up. A superuser as "
    "replication role gives every standby's host the whole primary.",
    fix="pgtandem apply",
)
def unfit_role(look: Look) -> Iterator[Seen]:
    primary = look.primary()
    examination = look.examination(primary[0]) if primary else None
    if primary is None or examination is None:
        return
    for user in sorted(_replication_users(look)):
        role = examination.roles.get(user)
        if role is None:
            continue
        if role.superuser:
            yield Seen(primary[0], f"standbys stream as {user}, a superuser")
        if role.expires_in_seconds is not None:
            left = role.expires_in_seconds
            when = "has expired" if left <= 0 else f"expires in {left / _DAY:.0f} days"
            yield Seen(primary[0], f"the password of {user} {when}")
        if 0 <= role.connection_limit < len(look.topology.nodes) + 1:
            yield Seen(primary[0], f"{user} may have {role.connection_limit} connections")


@rule(
    "REP23",
    Severity.HIGH,
    "a role that runs long statements by design has a timeout of its own",
    why="statement_timeout and its kin of a role end what monitoring, pg_rewind or a base backup do with it, half way. "
    "It works while the cluster is small, and fails on the day it matters.",
    fix="pgtandem apply",
)
def role_timeouts(look: Look) -> Iterator[Seen]:
    primary = look.primary()
    examination = look.examination(primary[0]) if primary else None
    if primary is None or examination is None:
        return
    watched = {REPLICATION_ROLE, SUPERUSER, *_replication_users(look)}
    timeouts = ("statement_timeout", "idle_session_timeout", "transaction_timeout", "lock_timeout")
    for setting in examination.role_settings:
        if setting.role in watched and setting.name in timeouts and setting.value not in ("0", "0s", "0ms"):
            what = f"{setting.role} has {setting.name} = {setting.value}"
            fix = f'pgtandem psql -c "ALTER ROLE {setting.role} RESET {setting.name}"'
            yield Seen(primary[0], what, fix=fix)


@rule(
    "REP24",
    Severity.HIGH,
    "replication between hosts is not encrypted, or a certificate ends soon",
    why="WAL holds every row that is written, and whoever is on the way reads it. An expired certificate stops "
    "replication and clients at once, on all nodes that were set up on the same day.",
    fix="[tls] in pgtandem.toml, then pgtandem apply",
)
def encryption(look: Look) -> Iterator[Seen]:
    # A network of one's own is a choice; where the topology file asks for TLS, plain streaming is not.
    severity = Severity.NOTE if look.topology.tls is None else None
    for name, server in look.servers():
        for sender in server.senders:
            if sender.encrypted is False and not _is_loopback(sender.client_address):
                what = f"{sender.application_name} at {sender.client_address} streams without TLS"
                yield Seen(name, what, severity=severity)
    for name, seen in look.observed.nodes.items():
        tls = value_or_none(seen.tls)
        certificate = (value_or_none(tls.served) or value_or_none(tls.certificate)) if tls else None
        if certificate and certificate.valid_until - look.observed.now < _EXPIRES_SOON_SECONDS:
            yield Seen(name, f"the server's certificate {_ends(look, certificate.valid_until)}", fix="pgtandem apply")
    authority = value_or_none(look.observed.authority)
    if authority and authority.valid_until - look.observed.now < _EXPIRES_SOON_SECONDS:
        yield Seen(
            None,
            f"the certificate of the cluster's CA {_ends(look, authority.valid_until)}",
            fix="a new CA: pgtandem apply; where it is your own, its files under [tls]",
        )


def _ends(look: Look, end: float) -> str:
    days = (end - look.observed.now) / _DAY
    return f"ends in {days:.0f} days" if days >= 0 else f"ended {-days:.0f} days ago"


@rule(
    "REP25",
    Severity.HIGH,
    "a standby on another host looks for its upstream at the loopback address",
    why="A name that the host itself resolves to 127.0.0.1 leads the standby to its own machine. It finds nobody "
    "there, or itself.",
    fix='write the address as host = "ssh://..." or nodes.NAME.address in pgtandem.toml, then pgtandem apply',
)
def loopback_upstream(look: Look) -> Iterator[Seen]:
    for name, _ in look.standbys():
        upstream, host = look.upstream(name), look.conninfo(name).get("host")
        if upstream is None or host is None or host.startswith("/"):
            continue
        if look.topology.node(upstream).host != look.topology.node(name).host and _is_loopback(host):
            yield Seen(name, f"primary_conninfo has host={host}", look.where(name, "primary_conninfo"))
