"""Every rule both ways: the look that provokes it, and looks that are close and fine."""

import re
from dataclasses import replace
from typing import Any

import pytest

from doctor.looks import FILES, GOOD_BACKUP, changed, found, healthy_look
from pgtandem.doctor.diagnose import RULES, diagnose, unseen, wrong
from pgtandem.doctor.rules import Severity
from pgtandem.model.topology import Tls
from pgtandem.postgres.conf import RECOVERY_FILE

Differences = dict[str, Any]
BASE = 0x25000060


def server(name: str = "db1", **facts: Any) -> Differences:
    return {name: {"server": facts}}


def _working(seconds: float) -> dict[str, float]:
    """An archiver that lives, with a command that has been at work for so long."""
    return {"last_archived_age_seconds": seconds, "waiting_age_seconds": seconds, "running_seconds": 5000.0}


def settings(name: str = "db1", **values: str) -> Differences:
    return server(name, settings={key: {"value": value} for key, value in values.items()})


def everywhere(**values: str) -> Differences:
    return settings("db1", **values) | settings("db2", **values)


def command(text: str) -> Differences:
    return settings(archive_command=text)


def detail(name: str = "db1", **facts: Any) -> Differences:
    return {f"{name}+": facts}


def hba(*lines: Differences) -> Differences:
    base = {"line": 1, "kind": "host", "databases": ["all"], "users": ["all"], "address": "10.0.0.0/24"}
    return server(hba=[{**base, "method": "scram-sha-256", "error": None, **line} for line in lines])


def role(name: str = "pgtandem_replication", **facts: Any) -> Differences:
    return detail(roles={name: facts})


def slot(name: str = "mine", on: str = "db1", **facts: Any) -> Differences:
    usual = {"kind": "physical", "active": False, "restart_lsn": "0/24000000", "wal_status": "reserved"}
    return server(on, slots={name: {**usual, "held_bytes": 16777216, **facts}})


def sender(**facts: Any) -> Differences:
    at = "0/25000060"
    usual = {"application_name": "db2", "pid": 9, "client_address": "127.0.0.1", "state": "streaming"}
    lsns = dict.fromkeys(("sent_lsn", "write_lsn", "flush_lsn", "replay_lsn"), at)
    return server(senders=[{**usual, "sync_state": "quorum", "encrypted": False, **lsns, **facts}])


def database(on: str = "db1", **facts: Any) -> Differences:
    return detail(on, databases={"postgres": facts})


def both(*parts: Differences) -> Differences:
    """Differences together, table by table."""
    whole: Differences = {}
    for part in parts:
        for key, value in part.items():
            old = whole.get(key)
            whole[key] = both(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return whole


SEGMENT = "0000000100000000000000"
TWO, THREE = "0000000200000000000000", "0000000300000000000000"
NO_RECEIVER = server("db2", receiver=None)
NAMES = "synchronous_standby_names"
SOON = {
    "fingerprint": "x",
    "name": "db1",
    "names": ["db1"],
    "valid_from": 0.0,
    "valid_until": 1_800_100_000.0,
    "ours": True,
}
FULL_DISK = {"total_bytes": 1 << 40, "free_bytes": 1 << 30, "device": "disk1"}
CLOCK = {"clock_ahead_seconds": 60.0}

#: A standby that the topology file wants to be late, and that does not stream while it waits.
WAITS = {
    "db1": {"server": {"slots": {"pgtandem_db3": {"active": False}}, "senders": []}},
    "db3": {"server": {"receiver": None, "delaying": True}},
}
NOT_WAITING = both(WAITS, server("db3", delaying=False))


#: Rule, kind of cluster, major version, what differs from a healthy one.
def backups(**facts: Any) -> Differences:
    """One that was taken, verified and restored for trial this night, but for these facts."""
    return {"backups": {"found": [{**GOOD_BACKUP, **facts}]}}


def pool(**facts: Any) -> Differences:
    row = {"name": "shop", "host": "127.0.0.1", "port": 5432, "dbname": "postgres", **facts}
    return {"pgbouncers": {"pool1": {"console": {"databases": {"shop": row}}}}}


def left(what: str, *things: Any) -> Differences:
    return {"db1": {what: list(things)}}


RESTORED = {
    "command": "pgtandem restore --to x --node db1",
    "directory": "/data/db1",
    "aside": "/old",
    "in_place": True,
}

PROVOKED: list[tuple[str, str, int, Differences]] = [
    ("ARC01", "pair", 18, command("cp %p /archive/%f")),
    ("ARC01", "pair", 18, command("test ! -f /archive/%f && /bin/cp %p /archive/%f")),
    ("ARC01", "pair", 18, command("rsync -a %p backup@10.0.0.9:/archive/%f")),
    ("ARC01", "pair", 18, command("scp %p backup@10.0.0.9:/archive/%f")),
    ("ARC02", "pair", 18, command("cp -i %p /archive/%f </dev/null")),
    ("ARC02", "pair", 18, command("cp -pn %p /archive/%f")),
    ("ARC02", "pair", 18, command("cp --no-clobber %p /archive/%f")),
    ("ARC03", "pair", 18, command("/bin/true")),
    ("ARC03", "pair", 18, command("cd .")),
    ("ARC03", "pair", 18, command("true %p")),
    ("ARC03", "pair", 18, command(": %p %f")),
    ("ARC03", "pair", 18, command("cp %p /archive/%f; /usr/bin/true %p")),
    ("ARC03", "pair", 18, command("cp %p /archive/%f || true")),
    ("ARC03", "pair", 18, command("cp %p /archive/%f; exit 0")),
    ("ARC03", "pair", 18, command("gzip -c %p | ssh b 'cat >/archive/%f.gz'")),
    ("ARC04", "pair", 18, {"archive": {"disk": {"device": "disk1"}}}),
    ("ARC05", "pair", 18, server(archiver={"failed_count": 3, "last_failed_wal": "X", "last_failed_age_seconds": 1.0})),
    ("ARC05", "pair", 18, command("")),
    ("ARC05", "pair", 18, server(archiver={"archived_count": 0, "waiting_segments": 30})),
    ("ARC05", "pair", 18, server(archiver={"last_archived_age_seconds": 300.0, "waiting_age_seconds": 200.0})),
    ("ARC05", "pair", 18, server(archiver=_working(2000.0))),
    ("ARC06", "pair", 18, server(archiver={"waiting_segments": 12})),
    ("ARC07", "pair", 18, {"archived": [f"{SEGMENT}33", f"{SEGMENT}34", f"{SEGMENT}36"]}),
    ("ARC07", "pair", 18, {"archived": [f"{SEGMENT}33", "000000020000000000000035", "00000002.history"]}),
    ("ARC08", "pair", 18, {"archived": [f"{SEGMENT}03", "000000020000000000000004"]}),
    (
        "ARC09",
        "pair",
        18,
        both(everywhere(archive_command="put %p"), server("db2", in_recovery=False, system_identifier="8")),
    ),
    ("ARC10", "pair", 18, settings("db2", archive_mode="off")),
    ("ARC11", "pair", 18, settings(archive_mode="always", archive_command="cp %p /archive/%f")),
    ("ARC12", "pair", 18, {}),
    ("ARC13", "pair", 18, {"archived": [f"{SEGMENT}03", f"{SEGMENT}04.partial"]}),
    ("ARC15", "pair", 18, settings("db2", archive_cleanup_command="pg_archivecleanup /archive %r")),
    ("ARC17", "pair", 18, settings(archive_library="basic_archive")),
    ("ARC18", "pair", 18, {"archive": {"disk": FULL_DISK}}),
    ("ARC18", "pair", 18, {"archive": {"disk": {"total_bytes": 80 << 20, "free_bytes": 15 << 20, "device": "a"}}}),
    ("ARC18", "pair", 18, {"archive": "unknown: permission denied"}),
    ("ARC19", "foreign", 18, {}),
    ("ARC20", "pair", 18, {"archive": {"newer": [2]}}),
    ("ARC21", "streamed", 18, both(server(senders=[]), {"stream": {"running": False}})),
    ("ARC21", "streamed", 18, both(server(senders=[]), {"stream": {"complaint": "FATAL: no"}})),
    ("ARC22", "streamed", 18, {"stream": {"keeper": {"unit": "pgtandem-archive-shop.service", "systemd": True}}}),
    ("ARC22", "streamed", 18, {"stream": {"keeper": "unknown: Failed to connect to bus"}}),
    ("RST01", "pair", 18, settings("db2", restore_command="")),
    ("RST01", "pair", 11, {"db2": {"data": {"files": {RECOVERY_FILE: "standby_mode = 'on'\n"}}}}),
    ("RST02", "pair", 18, settings("db2", restore_command="cp /archive/%f %p || true")),
    ("RST02", "pair", 18, settings("db2", restore_command="/bin/true")),
    ("RST03", "pair", 18, settings("db2", recovery_target_timeline="current")),
    ("RST03", "pair", 11, {"db2": {"data": {"files": {RECOVERY_FILE: "standby_mode = 'on'\n"}}}}),
    ("RST04", "pair", 18, settings("db2", restore_command="scp 10.0.0.9:/archive/%f %p")),
    ("RST05", "pair", 18, settings("db2", recovery_target_time="2026-01-01 00:00:00")),
    ("RST07", "pair", 18, {"db1": {"data": {"files": {RECOVERY_FILE: ""}}}}),
    ("RST08", "pair", 18, {"db2": {"data": {"recovery_signal": True}}}),
    ("RST08", "pair", 18, {"db2": {"data": {"standby_signal": False}, "server": "absent", "postmaster": "absent"}}),
    ("RST09", "pair", 18, {"db1": {"data": {"backup_label": True}}}),
    ("RST12", "pair", 14, detail(exclusive_backup=True)),
    ("ARC14", "pair", 18, backups(start_lsn="0/22000028")),
    ("RST10", "pair", 18, {"backups": {"found": []}}),
    ("RST10", "pair", 18, backups(drill=None)),
    ("RST10", "pair", 18, backups(drill={"at": 1799990000.0, "trouble": "It did not start."})),
    ("RST10", "pair", 18, backups(drill={"at": 1790000000.0, "trouble": ""})),
    ("RST13", "pair", 18, backups(verified={"at": 1799990000.0, "trouble": "base/1/1259 has other content"})),
    ("RST13", "pair", 18, backups(kind="incremental", parent="20270114T070000Z-full")),
    ("RST13", "pair", 18, {"backups": {"unreadable": [["/srv/x", "backup.json: it is empty"]]}}),
    ("RST14", "pair", 18, left("restores", {"command": "pgtandem restore", "directory": "/d/db1-restored-x"})),
    ("RST14", "pair", 18, left("restores", {"command": "", "directory": "/d/db1-restored-x.pgtandem-new.1"})),
    ("RST14", "pair", 18, both(left("restores", RESTORED), server(timeline=2, history=[]))),
    ("RST15", "pair", 18, left("drills", ["/srv/trial", True])),
    ("REP01", "pair", 18, settings("db2", primary_conninfo="host=127.0.0.1 port=5432 password=secret")),
    ("REP02", "pair", 18, {"db2": {"data": {"passfile_ok": False}}}),
    ("REP03", "pair", 18, settings(password_encryption="md5")),
    ("REP03", "pair", 18, role(password_kind="md5")),
    ("REP03", "pair", 18, hba({"databases": ["replication"], "method": "md5"})),
    ("REP04", "pair", 18, hba({"method": "trust"})),
    ("REP04", "pair", 18, hba({"databases": ["replication"], "kind": "local", "address": None, "method": "trust"})),
    ("REP04", "pair", 18, hba({"databases": ["replication"], "address": "0.0.0.0/0"})),
    ("REP05", "hosts", 18, hba({"databases": ["replication"], "address": "10.0.0.2/32"})),
    ("REP05", "hosts", 18, hba({"databases": ["replication"], "method": "reject"}, {"databases": ["replication"]})),
    ("REP06", "pair", 18, hba({"error": "invalid connection type", "kind": ""})),
    ("REP07", "hosts", 18, settings(listen_addresses="localhost")),
    ("REP07", "hosts", 18, settings(listen_addresses="127.0.0.1, ::1")),
    ("REP08", "pair", 18, settings(wal_level="minimal")),
    ("REP09", "pair", 18, settings("db2", max_wal_senders="2")),
    ("REP10", "pair", 18, settings(max_replication_slots="1")),
    ("REP11", "hosts", 18, server("db2", receiver={"slot": None})),
    ("REP12", "pair", 18, settings(max_slot_wal_keep_size="-1")),
    ("REP12", "pair", 12, {}),
    ("REP13", "pair", 18, slot()),
    ("REP13", "pair", 18, server(slots={"pgtandem_db2": {"active": False}})),
    ("REP14", "pair", 18, slot(wal_status="lost")),
    ("REP15", "pair", 18, slot(on="db2")),
    ("REP16", "pair", 18, settings("db2", primary_slot_name="other")),
    (
        "REP17",
        "pair",
        18,
        both(server(slots={"pgtandem_db2": {"active": False}}), server("db2", receiver={"slot": None})),
    ),
    ("REP18", "pair", 18, both(slot(kind="logical", active=True), detail(slots={"mine": {"failover": False}}))),
    ("REP18", "pair", 16, slot(kind="logical", active=True)),
    ("REP19", "pair", 18, settings(hot_standby="off")),
    ("REP20", "pair", 18, settings(max_connections="200")),
    ("REP20", "trio", 18, settings("db3", max_worker_processes="4")),
    (
        "REP21",
        "pair",
        18,
        settings("db2", work_mem="8192") | server(settings={"work_mem": {"source": "configuration file"}}),
    ),
    ("REP22", "pair", 18, role(superuser=True)),
    ("REP22", "pair", 18, role(expires_in_seconds=86400.0 * 3)),
    ("REP22", "pair", 18, role(connection_limit=1)),
    (
        "REP23",
        "pair",
        18,
        detail(role_settings=[{"role": "postgres", "database": "", "name": "statement_timeout", "value": "30s"}]),
    ),
    ("REP24", "hosts", 18, sender(client_address="10.0.0.2")),
    ("REP24", "pair", 18, {"db1": {"tls": {"certificate": SOON, "key": True, "served": SOON}}}),
    ("REP25", "hosts", 18, settings("db2", primary_conninfo="host=localhost port=5432 user=r")),
    ("REP26", "pair", 18, server("db2", receiver={"sender_port": 6000})),
    ("REP27", "pair", 18, settings(wal_sender_timeout="0")),
    ("REP28", "hosts", 18, settings("db2", primary_conninfo="host=10.0.0.1 port=5432 user=pgtandem_replication")),
    ("REP30", "pair", 18, settings(data_directory="/srv/data", hba_file="/etc/postgresql/18/main/pg_hba.conf")),
    ("REP31", "pair", 18, {"db1": {"data": {"auto_settings": {"wal_retrieve_retry_interval": "9s"}}}}),
    ("REP32", "pair", 18, server(settings={"shared_buffers": {"pending_restart": True}})),
    ("REP33", "pair", 18, detail(file_errors=[{"file": "/x/postgresql.conf", "line": 3, "error": "syntax error"}])),
    ("SYN01", "trio", 18, settings(synchronous_standby_names='ANY 2 ("db2", "db3")')),
    ("SYN02", "trio", 18, settings(synchronous_standby_names='ANY 1 ("db2", "ghost")')),
    ("SYN02", "streamed", 18, both(settings(synchronous_standby_names="pgtandem_archive"), server(senders=[]))),
    ("SYN03", "trio", 18, settings(synchronous_commit="local")),
    (
        "SYN03",
        "trio",
        18,
        detail(role_settings=[{"role": "", "database": "shop", "name": "synchronous_commit", "value": "off"}]),
    ),
    ("SYN04", "trio", 18, settings(synchronous_standby_names="*")),
    ("SYN05", "hosts", 18, settings(synchronous_standby_names="db3")),
    ("SYN06", "trio", 18, detail(waiting_commits=2, waiting_seconds=9.0)),
    (
        "SYN08",
        "trio",
        18,
        both(settings(synchronous_commit="remote_apply"), settings("db2", recovery_min_apply_delay="60000")),
    ),
    (
        "SYN08",
        "trio",
        18,
        both(settings(synchronous_commit="remote_apply"), settings("db2", max_standby_streaming_delay="-1")),
    ),
    ("SYN09", "trio", 18, settings("db2", recovery_min_apply_delay="60000")),
    ("SYN10", "trio", 18, sender(state="catchup")),
    ("STB01", "pair", 18, server("db2", in_recovery=False, current_lsn="0/25000060")),
    ("STB02", "pair", 18, {"db2": {"data": {"control": {"system_identifier": "8"}}, "server": "absent"}}),
    ("STB03", "pair", 18, server("db2", timeline=2)),
    ("STB03", "pair", 18, both(NO_RECEIVER, server("db2", replay_lsn="0/26000000"))),
    ("STB04", "pair", 18, settings(data_checksums="off")),
    ("STB05", "pair", 18, settings("db2", full_page_writes="off")),
    ("STB07", "pair", 18, both(server(timeline=2), server("db2", timeline=2))),
    ("STB08", "pair", 18, {"db2": {"data": {"entries": ["PG_VERSION", "base", "patroni.dynamic.json"]}}}),
    ("STB09", "pair", 18, both(NO_RECEIVER, server(senders=[]))),
    ("STB09", "late", 18, NOT_WAITING),
    ("REP13", "late", 18, NOT_WAITING),
    ("STB21", "late", 18, {"db2": {"server": "absent", "postmaster": "absent"}}),
    ("STB22", "pair", 18, {"db1": {"server": "absent", "postmaster": "absent"}}),
    ("STB22", "pair", 18, {"db1": {"reachable": "unknown: No route.", "server": "unknown: No route."}}),
    ("STB10", "pair", 18, server("db2", replay_paused=True)),
    ("STB11", "pair", 18, settings("db2", max_standby_streaming_delay="-1")),
    ("STB12", "pair", 18, database("db2", conflicts=3)),
    ("STB13", "pair", 18, detail(feedback_age=20_000_000)),
    ("STB14", "pair", 18, detail(slots={"old": {"catalog_xmin_age": 150_000_000}})),
    ("STB16", "pair", 18, settings("db2", recovery_min_apply_delay="60000")),
    ("STB17", "pair", 18, database(unlogged_files=3)),
    ("STB18", "pair", 18, detail(prepared=[{"name": "forgotten", "age_seconds": 90000.0}])),
    ("STB19", "pair", 18, database(checksum_failures=1)),
    ("STB20", "pair", 18, settings("db2", fsync="off")),
    ("STB21", "pair", 18, {"db2": {"server": "absent", "postmaster": "absent"}}),
    ("STB21", "pair", 18, server(current_lsn="0/65000060")),
    ("STB21", "pair", 18, settings("db2", recovery_min_apply_delay="60000")),
    ("HST01", "pair", 18, database(collation_actual="2.40")),
    (
        "HST01",
        "hosts",
        18,
        both({"hosts": {"ssh://postgres@10.0.0.2": {"libc": "glibc 2.28"}}}, server(libc_locales=["de"])),
    ),
    ("HST02", "hosts", 18, {"hosts": {"ssh://postgres@10.0.0.2": CLOCK}}),
    ("HST03", "pair", 18, server(version_number=180005)),
    ("HST16", "pair", 18, server(version_number=180003)),
    ("HST17", "pair", 18, server("db2", version_number=180005)),
    ("POL01", "pooled", 18, pool(paused=True)),
    ("POL02", "pooled", 18, pool(port=5433)),
    ("POL03", "pooled", 18, {"pgbouncers": {"pool1": {"console": "unknown: connection refused"}}}),
    ("HST04", "pair", 18, {"db2": {"data": {"control": {"wal_segment_bytes": 1 << 20}}}}),
    ("HST05", "pair", 18, detail(extensions=["plpgsql", "postgis"], available_extensions=["plpgsql", "postgis"])),
    ("HST07", "pair", 18, settings(shared_buffers="1048576") | {"around": {"memory_bytes": 8 << 30}}),
    ("HST09", "pair", 18, {"db2": {"disk": FULL_DISK}}),
    ("REP29", "pair", 18, {"around": {"wal_disk": {**FULL_DISK, "device": "disk3"}}}),
    ("REP29", "pair", 18, settings(max_slot_wal_keep_size="2000000")),
    ("HST15", "pair", 13, {}),
    ("HST15", "pair", 14, server(version_number=140002)),
]

#: Looks that come close and are fine.
SILENT: list[tuple[str, str, int, Differences]] = [
    ("ARC01", "pair", 18, command("/usr/local/bin/pusher cp-wal %p")),
    ("ARC01", "pair", 18, command("cp %p /archive/.%f && sync /archive/.%f && mv /archive/.%f /archive/%f")),
    ("ARC01", "pair", 18, settings(archive_mode="off", archive_command="cp %p /archive/%f")),
    ("ARC02", "pair", 18, command("cp %p /archive/in-%f")),
    ("ARC03", "pair", 18, command("test -f /archive/%f || cp %p /archive/%f")),
    ("ARC03", "pair", 18, command("true %p && push %p")),
    ("ARC03", "pair", 18, command("set -o pipefail; gzip -c %p | put %f")),
    ("ARC04", "pair", 18, {"archive": {"disk": {"device": "disk9"}}}),
    (
        "ARC05",
        "pair",
        18,
        server(archiver={"failed_count": 3, "last_failed_wal": "X", "last_failed_age_seconds": 99.0}),
    ),
    ("ARC05", "pair", 18, server("db2", archiver={"failed_count": 1, "last_failed_age_seconds": 1.0})),
    ("ARC05", "pair", 18, server(archiver={"last_archived_age_seconds": 100.0, "waiting_age_seconds": 200.0})),
    ("ARC05", "pair", 18, server(archiver={"last_archived_age_seconds": 300.0, "waiting_age_seconds": 100.0})),
    ("ARC05", "pair", 18, server(archiver=_working(900.0))),
    ("ARC06", "pair", 18, server(archiver={"waiting_segments": 2})),
    ("ARC07", "pair", 18, {"archived": [f"{SEGMENT}FE", f"{SEGMENT}FF", "000000010000000100000000"]}),
    ("ARC07", "pair", 18, {"archived": [f"{SEGMENT}03", "000000020000000000000004", "00000002.history"]}),
    # Timeline 2 was left behind, and 3 came from 1 as well.
    ("ARC07", "pair", 18, {"archived": [f"{SEGMENT}08", f"{SEGMENT}09", f"{TWO}06", f"{TWO}07", f"{THREE}09"]}),
    ("ARC08", "pair", 18, {"archived": [f"{SEGMENT}03", "000000020000000000000004", "00000002.history"]}),
    ("ARC10", "pair", 18, settings("db1", archive_mode="off") | settings("db2", archive_mode="off")),
    ("ARC11", "pair", 18, settings(archive_mode="always")),
    ("ARC12", "pair", 18, settings(archive_timeout="300")),
    ("RST02", "pair", 18, settings("db2", restore_command="test -f /a/%f && cp /a/%f %p")),
    ("RST03", "pair", 11, {}),
    ("RST04", "pair", 18, settings("db2", restore_command="sh /srv/scp-less/fetch %f %p")),
    ("RST07", "pair", 11, {}),
    ("RST08", "pair", 18, server("db2", in_recovery=False)),
    ("RST09", "pair", 14, {"db1": {"data": {"backup_label": True}}, "db1+": {"exclusive_backup": True}}),
    ("REP04", "pair", 18, hba({"databases": ["replication"], "method": "reject", "address": "all"})),
    ("REP04", "pair", 18, hba({"kind": "local", "address": None, "method": "trust"})),
    ("REP05", "hosts", 18, hba({"databases": ["replication"], "address": "10.0.0.0/24"})),
    ("REP05", "hosts", 18, hba({"databases": ["replication"], "address": "standbys.example.org"})),
    ("REP07", "hosts", 18, settings(listen_addresses="*")),
    ("REP07", "pair", 18, settings(listen_addresses="localhost")),
    ("REP11", "pair", 18, server("db2", receiver={"slot": None})),
    ("REP13", "pair", 18, slot(active=True)),
    ("REP13", "pair", 18, slot(restart_lsn=None, held_bytes=None)),
    ("REP15", "pair", 18, both(slot(on="db2"), detail("db2", slots={"mine": {"synced": True}}))),
    ("REP18", "pair", 18, both(slot(kind="logical", active=True), detail(slots={"mine": {"failover": True}}))),
    ("REP21", "pair", 18, settings("db2", max_slot_wal_keep_size="99", port="6000")),
    (
        "REP23",
        "pair",
        18,
        detail(role_settings=[{"role": "app", "database": "", "name": "statement_timeout", "value": "1"}]),
    ),
    ("REP24", "pair", 18, sender(client_address="127.0.0.1")),
    ("REP24", "hosts", 18, sender(client_address="10.0.0.2", encrypted=True)),
    ("REP31", "pair", 18, {"db1": {"data": {"auto_settings": {"wal_retrieve_retry_interval": "500"}}}}),
    ("SYN01", "trio", 18, settings(synchronous_commit="local", synchronous_standby_names="db2")),
    ("SYN02", "trio", 18, settings(synchronous_standby_names="DB2")),
    ("SYN05", "hosts", 18, {}),
    ("SYN05", "hosts", 18, settings(synchronous_standby_names="FIRST 1 (db3, pgtandem_archive)")),
    ("SYN06", "trio", 18, detail(waiting_commits=2, waiting_seconds=0.01)),
    ("SYN08", "trio", 18, settings("db2", recovery_min_apply_delay="60000")),
    ("STB02", "pair", 18, {"db2": {"data": "absent", "server": "absent"}}),
    ("STB03", "pair", 18, server("db2", replay_lsn="0/26000000")),
    ("STB04", "pair", 18, settings(data_checksums="off", wal_log_hints="on")),
    ("STB07", "pair", 18, both(server(timeline=2), detail(checkpoint_timeline=2))),
    ("STB08", "pair", 18, {"db2": {"data": {"entries": ["PG_VERSION", "base", "patroni.log"]}}}),
    ("STB09", "pair", 18, {"db2": {"server": "absent", "postmaster": "absent"}}),
    ("STB22", "pair", 18, {"db2": {"server": "absent", "postmaster": "absent"}}),
    ("STB09", "pair", 18, both(NO_RECEIVER, server(senders=[]), server("db2", delaying=True))),
    ("STB09", "late", 18, WAITS),
    ("REP13", "late", 18, WAITS),
    ("SYN09", "late", 18, {}),
    ("STB16", "late", 18, {}),
    ("STB12", "pair", 18, database(conflicts=3)),
    ("STB18", "pair", 18, detail(prepared=[{"name": "young", "age_seconds": 9.0}])),
    ("HST01", "hosts", 18, {"hosts": {"ssh://postgres@10.0.0.2": {"libc": "glibc 2.28"}}}),
    ("HST03", "pair", 18, server("db2", version_number=180005)),
    ("HST05", "pair", 18, detail("db2", extensions=[], available_extensions=[])),
    ("HST07", "pair", 18, {"around": {"memory_bytes": 1 << 30}}),
    ("HST07", "pair", 18, settings(shared_buffers="1048576") | {"around": {"memory_bytes": None}}),
    ("REP29", "pair", 18, {"around": {"wal_disk": FULL_DISK}}),
    ("REP29", "pair", 18, {"around": {"wal_disk": None}}),
    ("HST09", "pair", 18, {"db2": {"disk": {"total_bytes": 1 << 44, "free_bytes": 1 << 38, "device": "d"}}}),
    ("HST15", "pair", 14, server(version_number=140022) | {"now": 1_700_000_000.0}),
]


def _name(case: tuple[str, str, int, Differences]) -> str:
    return f"{case[0]}-{case[1]}-{case[2]}"


@pytest.mark.parametrize("case", PROVOKED, ids=_name)
def test_the_rule_finds_its_trap(case: tuple[str, str, int, Differences]) -> None:
    rule, kind, major, differences = case
    look = changed(healthy_look(kind, major), differences)
    assert rule in found(look)
    assert wrong(diagnose(look)) or rule in (
        "ARC04",
        "ARC12",
        "ARC13",
        "ARC19",
        "REP12",
        "REP24",
        "RST10",
        "STB07",
        "STB17",
    )


@pytest.mark.parametrize("case", SILENT, ids=_name)
def test_the_rule_is_silent_where_it_only_looks_like_the_trap(case: tuple[str, str, int, Differences]) -> None:
    rule, kind, major, differences = case
    assert rule not in found(changed(healthy_look(kind, major), differences))


@pytest.mark.parametrize("kind", FILES)
def test_a_cluster_that_pgtandem_has_built_has_no_findings(kind: str) -> None:
    for major in (14, 15, 16, 17, 18):
        findings = diagnose(healthy_look(kind, major))
        ended = {"HST15"} if major == 14 else set()  # the look is of 2027
        assert {finding.rule.id for finding in findings if finding.severity is not Severity.NOTE} <= ended


def test_every_rule_is_provoked() -> None:
    assert {case[0] for case in PROVOKED} == set(RULES)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_a_rule_is_told_in_whole_sentences(rule: Any) -> None:
    assert re.fullmatch(r"[A-Z]{3}\d\d", rule.id)
    assert rule.why.endswith(".")
    assert 1 <= rule.why.count(". ") <= 2
    assert rule.title[0].islower() or rule.title.split()[0].isupper() or rule.title.startswith("ALTER")
    assert not rule.title.endswith(".")
    assert rule.fix
    assert "slave" not in rule.why + rule.title and "master" not in rule.why + rule.title  # noqa: PT018


@pytest.mark.parametrize(
    "secret", ["password=hush", "password = 'hu''sh hush'", "passfile=/x sslpassword='hush\\' hush'"]
)
def test_a_password_is_never_shown(secret: str) -> None:
    value = f"host=127.0.0.1 port=1 {secret} application_name=db2"
    hidden = {"db2": {"data": {"auto_settings": {"primary_conninfo": value}}}}
    look = changed(healthy_look("pair"), both(settings("db2", primary_conninfo=value, restore_command="x"), hidden))
    assert "REP31" in found(look)
    assert "hush" not in str(found(look))
    assert "application_name=db2" in str(found(look)["REP31"])


def test_plain_streaming_is_a_note_until_the_topology_file_asks_for_tls() -> None:
    plain = changed(healthy_look("hosts"), sender(client_address="10.0.0.2"))
    for wish, severity in ((plain.topology, Severity.NOTE), (replace(plain.topology, tls=Tls()), Severity.HIGH)):
        (finding,) = [each for each in diagnose(replace(plain, topology=wish)) if each.rule.id == "REP24"]
        assert finding.severity is severity


def test_a_slot_whose_nodes_host_is_down_names_the_host() -> None:
    silent = {"reachable": "unknown: it hangs", "server": "unknown: it hangs"}
    look = changed(healthy_look("hosts"), both(server(slots={"pgtandem_db2": {"active": False}}), {"db2": silent}))
    (finding,) = [each for each in diagnose(look) if each.rule.id == "REP13"]
    assert finding.seen.fix.startswith("bring the host of db2 back, or take [nodes.db2] out of the file")


def test_a_password_in_a_uri_is_never_shown() -> None:
    look = changed(healthy_look("pair"), command("scp x; curl https://me:hush@10.0.0.9/ %p || true"))
    assert "https://me:****@10.0.0.9/" in str(found(look)["ARC03"])


def test_the_gravest_comes_first() -> None:
    look = changed(
        healthy_look("pair"),
        both(settings(wal_sender_timeout="0", fsync="off"), {"archive": {"disk": {"device": "disk1"}}}),
    )
    order = [finding.severity for finding in diagnose(look)]
    assert order == sorted(order, key=list(Severity).index)
    assert order[0] is Severity.CRITICAL
    assert order[-1] is Severity.NOTE


def test_a_setting_is_named_with_its_file_and_line() -> None:
    differences = both(settings(fsync="off"), detail(lines={"fsync": ("/srv/x.conf", 7)}))
    (finding,) = [each for each in diagnose(changed(healthy_look("pair"), differences)) if each.rule.id == "STB20"]
    assert finding.seen.where == "/srv/x.conf:7"


def test_what_could_not_be_looked_at_is_told_and_rules_are_silent_about_it() -> None:
    look = changed(healthy_look("pair"), {"db1": {"server": "unknown: it hangs"}, "db2": {"server": "absent"}})
    assert unseen(look) == [("db1", "It hangs."), ("db2", "Its server does not run.")]
    assert found(look) == {"STB22": ["no server is seen to run; db1 could not be looked at"]}


HOLE = {"archived": [f"{SEGMENT}03", f"{SEGMENT}05", f"{SEGMENT}22", f"{SEGMENT}23", f"{SEGMENT}24"]}


@pytest.mark.parametrize(
    ("more", "severity"),
    [
        ({}, Severity.NOTE),
        ({"backups": {"missing_segment": f"{SEGMENT}25"}}, Severity.CRITICAL),
        (backups(verified={"at": 1799990000.0, "trouble": "base/1/1259 has other content"}), Severity.CRITICAL),
        (backups(start_lsn="0/4000028", stop_lsn="0/5000028"), Severity.CRITICAL),
        ({"backups": {"found": []}}, Severity.CRITICAL),
    ],
)
def test_a_hole_is_worth_knowing_and_no_more_where_the_last_backup_begins_behind_it(
    more: Differences, severity: Severity
) -> None:
    look = changed(healthy_look("pair", 18), both(HOLE, more))
    found_ones = [finding.severity for finding in diagnose(look) if finding.rule.id == "ARC07"]
    assert set(found_ones) == {severity}
