"""What a server answered to `queries.observe`, read into a Server: JSON documents in, values out."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import Secret
from pgtandem.model.server import Archiver, HbaRule, Receiver, ReplayHold, Role, Sender, Server, Setting, Slot
from pgtandem.postgres import scram
from pgtandem.postgres.history import parse_history
from pgtandem.postgres.segments import segment_number
from pgtandem.postgres.settings import canonical, setting_spec

Document = Mapping[str, Any]


def parse_server(
    settings: Sequence[Sequence[Any]],
    document: Document,
    passwords: Mapping[str, Secret | None],
    proof_token: str | None,
) -> Server:
    """The server's facts; a role's password, where it is known, is compared with what is stored for it."""
    in_recovery = bool(document["in_recovery"])
    timeline = document["standby_timeline"] if in_recovery else int(document["primary_timeline"], 16)
    return Server(
        version_number=document["version_number"],
        # The function's type is signed, the identifier is not: it begins with the seconds since 1970.
        system_identifier=str(int(document["system_identifier"]) % (1 << 64)),
        in_recovery=in_recovery,
        timeline=Timeline(timeline),
        current_lsn=_lsn(document["current_lsn"]),
        receive_lsn=_lsn(document["receive_lsn"]),
        replay_lsn=_lsn(document["replay_lsn"]),
        replay_age_seconds=_seconds(document["replay_age_seconds"]),
        replay_paused=document["replay_paused"],
        delaying=bool(document["delaying"]),
        last_commit_age_seconds=_seconds(document.get("last_commit_age_seconds")),
        recovery_unread=bool(document["recovery_unread"]),
        oldest_lsn=_oldest(document["oldest_wal"]),
        size_bytes=document["size_bytes"],
        tablespace_bytes=document.get("tablespace_bytes") or {},
        libc_locales=tuple(document["libc_locales"] or ()),
        # Names in lower case, as everywhere: the server shows DateStyle, IntervalStyle and TimeZone.
        settings={row[0].lower(): _setting(row, document["version_number"] // 10000) for row in settings},
        hba=tuple(_hba_rule(row) for row in document["hba"] or ()),
        roles={row["name"]: _role(row, passwords.get(row["name"])) for row in document["roles"] or ()},
        slots={row["name"]: _slot(row) for row in document["slots"] or ()},
        senders=tuple(_sender(row) for row in document["senders"] or ()),
        receiver=_receiver(document["receiver"]) if document["receiver"] else None,
        receiver_pid=document["receiver_pid"],
        archiver=_archiver(document["archiver"]) if document["archiver"] else None,
        proof_token=proof_token,
        history=parse_history(document.get("history") or ""),
        redo_lsn=_lsn(document["redo"]["lsn"]),
        redo_age_seconds=_seconds(document["redo"]["age_seconds"]),
        summarized=_summarized(document.get("summarized")),
        replay_hold=_replay_hold(document["replay_hold"]) if document["replay_hold"] else None,
    )


def _setting(row: Sequence[Any], major: int) -> Setting:
    """The server's own value: what ALTER ROLE or ALTER DATABASE set for our sessions is nobody else's."""
    name, shown, source, file, pending, hidden = row
    if hidden is None:
        return Setting(shown or "", source, file, pending)
    known, in_files, boot_value = hidden
    if not known:
        return Setting("", "unknown", None, pending)
    if in_files is None:
        return Setting(boot_value or "", "default", None, pending)
    text, spec = in_files[0] or "", setting_spec(major, name)
    with suppress(ValueError):
        text = canonical(spec, text) if spec else text
    return Setting(text, "configuration file", in_files[1], pending)


def _lsn(text: str | None) -> Lsn | None:
    return None if text is None else Lsn.parse(text)


def _summarized(row: Document | None) -> Mapping[Timeline, Lsn] | None:
    return None if row is None else {Timeline(int(number)): Lsn.parse(text) for number, text in row.items()}


def _oldest(row: Document) -> Lsn | None:
    name, size = row["name"], row["segment_bytes"]
    number = None if name is None else segment_number(f"{0:08X}{name}", size)
    return None if number is None else Lsn(number * size)


def _seconds(number: float | None) -> float | None:
    return None if number is None else float(number)


def _hba_rule(row: Document) -> HbaRule:
    return HbaRule(
        line=row["line"] or 0,
        kind=row["kind"] or "",
        databases=tuple(row["databases"] or ()),
        users=tuple(row["users"] or ()),
        address=_hba_address(row["address"], row["netmask"]),
        method=row["method"] or "",
        error=row["error"],
    )


def _hba_address(address: str | None, netmask: str | None) -> str | None:
    """As the file has it mostly: "10.0.0.1/32", "samenet", "all" or a host name."""
    if address is None or netmask is None:
        return address
    return f"{address}/{int(ip_address(netmask)).bit_count()}"


def _role(row: Document, password: Secret | None) -> Role:
    stored: str | None = row["password"]
    same: bool | None = None
    if password is not None:
        # Past its VALID UNTIL no password is accepted, however right.
        same = not row["expired"] and scram.matches(password.reveal(), stored or "")
    return Role(
        name=row["name"],
        superuser=row["superuser"],
        replication=row["replication"],
        login=row["login"],
        connection_limit=row["connection_limit"],
        password_kind=scram.stored_kind(stored),
        password_matches=same,
    )


def _slot(row: Document) -> Slot:
    return Slot(
        name=row["name"],
        kind=row["kind"],
        active=row["active"],
        active_pid=row["active_pid"],
        restart_lsn=_lsn(row["restart_lsn"]),
        wal_status=row["wal_status"],
        # Of a slot that keeps nothing, greatest() still gives 0.
        held_bytes=None if row["restart_lsn"] is None else int(row["held_bytes"]),
    )


def _sender(row: Document) -> Sender:
    return Sender(
        application_name=row["application_name"],
        pid=row["pid"],
        client_address=row["client_address"],
        state=row["state"] or "",
        sync_state=row["sync_state"] or "",
        sent_lsn=_lsn(row["sent_lsn"]),
        write_lsn=_lsn(row["write_lsn"]),
        flush_lsn=_lsn(row["flush_lsn"]),
        replay_lsn=_lsn(row["replay_lsn"]),
        encrypted=row["encrypted"],
        write_lag_seconds=_seconds(row["write_lag_seconds"]),
        flush_lag_seconds=_seconds(row["flush_lag_seconds"]),
        replay_lag_seconds=_seconds(row["replay_lag_seconds"]),
        user=row["user"],
    )


def _replay_hold(row: Document) -> ReplayHold:
    return ReplayHold(
        pid=row["pid"],
        user=row["user"] or "",
        application_name=row["application_name"] or "",
        transaction_seconds=max(float(row["transaction_seconds"]), 0.0),
        waits_for=row["waits_for"],
    )


def _receiver(row: Document) -> Receiver:
    timeline = row["received_timeline"]
    return Receiver(
        status=row["status"],
        sender_host=row["sender_host"],
        sender_port=row["sender_port"],
        slot=row["slot"],
        received_timeline=None if timeline is None else Timeline(timeline),
    )


def _archiver(row: Document) -> Archiver:
    return Archiver(
        archived_count=row["archived_count"],
        failed_count=row["failed_count"],
        last_archived_wal=row["last_archived_wal"],
        last_failed_wal=row["last_failed_wal"],
        last_archived_age_seconds=_seconds(row["last_archived_age_seconds"]),
        last_failed_age_seconds=_seconds(row["last_failed_age_seconds"]),
        waiting_segments=row["waiting_segments"],
        waiting_wal=row["waiting_wal"],
        waiting_age_seconds=_seconds(row["waiting_age_seconds"]),
        running_seconds=_seconds(row["running_seconds"]),
        last_archived_ready=_seconds(row["last_archived_ready"]),
    )
