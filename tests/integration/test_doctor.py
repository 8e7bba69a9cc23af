"""doctor on real servers: silent about what pgtandem built, and each trap found that can be set cheaply."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pgtandem.doctor.diagnose import RULES
from support.clusters import Cluster
from support.processes import within
from support.provoking import Looks, ids, provokes

pytestmark = pytest.mark.real

#: By ALTER SYSTEM and a reload on the primary.
ON_PRIMARY = {
    "fsync": "off",
    "full_page_writes": "off",
    "archive_command": "cp -i %p /nowhere/%f </dev/null || true",
    "max_slot_wal_keep_size": "-1",
    "wal_sender_timeout": "0",
    "password_encryption": "md5",
    "max_connections": "150",
    "work_mem": "8MB",
    "wal_retrieve_retry_interval": "9s",
    "synchronous_commit": "local",
    "synchronous_standby_names": "*",
}
#: And on the standby.
ON_STANDBY = {
    "archive_cleanup_command": "true",
    "recovery_min_apply_delay": "1h",
    "max_standby_streaming_delay": "-1",
    "restore_command": "scp 127.0.0.1:/nowhere/%f %p || true",
}
SQL_ON_PRIMARY = (
    "ALTER ROLE postgres SET statement_timeout = '10min'",
    "ALTER ROLE pgtandem_replication SUPERUSER CONNECTION LIMIT 1 VALID UNTIL '2099-01-01'",
    "CREATE ROLE weak LOGIN PASSWORD 'md5" + "0" * 32 + "'",
    "SELECT pg_create_physical_replication_slot('forgotten', true)",
    "CREATE UNLOGGED TABLE fleeting (i int)",
)
EXPECTED = {
    *("ARC01", "ARC02", "ARC03", "ARC07", "ARC08", "ARC15", "RST02", "RST04", "RST07", "RST08", "RST09"),
    *("REP01", "REP02", "REP03", "REP04", "REP06", "REP12", "REP13", "REP15", "REP16", "REP21", "REP22", "REP23"),
    *("REP27", "REP31", "REP32", "REP33", "SYN03", "SYN04", "SYN09", "STB05", "STB10", "STB11", "STB17", "STB20"),
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.up()
        yield cluster


#: Only while a server does not run.
STOPPED = {"STB21"}

#: And with the primary stopped too.
ALL_STOPPED = {"STB22"}


def doctor(cluster: Cluster, code: int) -> dict[str, Any]:
    done = cluster.run("doctor", "--json")
    assert done.exit_code == code, done.said
    document: dict[str, Any] = json.loads(done.out)
    return document


def test_a_cluster_that_was_just_built_has_no_findings(pair: Cluster) -> None:
    document = doctor(pair, 0)
    assert document["findings"] == []
    assert document["unseen"] == []
    assert {note["id"] for note in document["notes"]} <= {"ARC04", "ARC12", "RST10"}
    done = pair.ok("doctor")
    assert "nothing is wrong" in done.out.splitlines()[-1]


def test_there_are_none_either_after_the_roles_were_changed(pair: Cluster) -> None:
    for node in ("db2", "db1"):
        pair.ok("switchover", "--to", node, "--yes")
        document = doctor(pair, 0)
        assert document["findings"] == []
        assert {note["id"] for note in document["notes"]} <= {"ARC04", "ARC12", "ARC13", "RST10", "STB07"}


def test_it_changes_nothing(pair: Cluster) -> None:
    with pair.unchanged(servers_run=True):
        pair.ok("doctor")


@provokes(*EXPECTED, *STOPPED, *ALL_STOPPED)
@provokes(*(rule for rule in EXPECTED if RULES[rule].by_sql), over_sql=True)
def test_traps_that_were_set_are_found(pair: Cluster, looks: Looks) -> None:
    looks.take(ids(doctor(pair, 0)))
    dsns = [f"postgres://postgres:{pair.password()}@127.0.0.1:{pair.port(node)}/postgres" for node in pair.nodes]
    looks.over_sql(*dsns)
    with pair.connect("db1") as primary, pair.connect("db2") as standby:
        for connection, values in ((primary, ON_PRIMARY), (standby, ON_STANDBY)):
            for name, value in values.items():
                literal = "'" + value.replace("'", "''") + "'"
                connection.execute(f"ALTER SYSTEM SET {name} = {literal}".encode())
        for statement in SQL_ON_PRIMARY:
            primary.execute(statement.encode())
        standby.execute("SELECT pg_create_physical_replication_slot('earlier', true)")
        password = pair.secrets()["replication_password"]
        conninfo = (
            f"host=127.0.0.1 port={pair.port('db1')} user=pgtandem_replication password={password} application_name=db2"
        )
        standby.execute(f"ALTER SYSTEM SET primary_conninfo = '{conninfo}'".encode())
        standby.execute("ALTER SYSTEM SET primary_slot_name = 'none_such'")
        for connection in (primary, standby):
            connection.execute("SELECT pg_reload_conf()")
        standby.execute("SELECT pg_wal_replay_pause()")
    # Loaded before a wrong line stands in a file: with that nothing is loaded.
    pair.wait_for("db1", "SELECT current_setting('work_mem') = '8MB'")
    pair.wait_for("db2", "SELECT current_setting('primary_slot_name') = 'none_such'")
    pair.edit(pair.data("db1") / "pg_hba.conf", lambda text: text + "host replication all 0.0.0.0/0 trust\nhost what\n")
    pair.edit(pair.data("db2") / "pgtandem" / "passfile", lambda text: "#" + text)
    pair.edit(pair.data("db2") / "postgresql.conf", lambda text: text + "no_such_setting = 1\n")
    (pair.data("db2") / "standby.signal").unlink()
    for path in (pair.data("db1") / "recovery.conf", pair.data("db1") / "backup_label"):
        path.write_text("")
        pair.own(path)
    (folder,) = [path for path in pair.archive.iterdir() if path.name.isdigit()]
    for name in ("0000000100000000000000F0", "0000000900000000000000F1", "0000000100000000000000F0.partial"):
        (folder / name).write_bytes(b"")

    document: dict[str, Any] = {}

    def all_found() -> bool:
        document.update(doctor(pair, 2))
        return looks.take(ids(document)) >= EXPECTED

    within(20, all_found)
    assert EXPECTED - ids(document) == set()
    by_id = {finding["id"]: finding for finding in document["findings"]}
    assert by_id["STB20"]["node"] == "db1"
    assert "postgresql.auto.conf:" in by_id["STB20"]["where"]
    assert by_id["REP33"]["where"].startswith(str(pair.data("db2") / "postgresql.conf") + ":")
    assert password not in json.dumps(document)
    assert password not in pair.run("doctor").said

    looks.over_sql(*dsns)

    pair.stop_server("db2")
    document = doctor(pair, 2)
    assert looks.take(ids(document)) >= STOPPED
    assert document["unseen"] == [{"name": "db2", "why": "Its server does not run."}]

    pair.stop_server("db1")
    document = doctor(pair, 2)
    assert looks.take(ids(document)) >= ALL_STOPPED
    assert {finding["severity"] for finding in document["findings"] if finding["id"] in ALL_STOPPED} == {"critical"}


@provokes("ARC13", "ARC14", "RST10", "RST13", "ARC12", "ARC19", "SYN05")
def test_traps_of_backups_and_of_the_topology_file_are_found(looks: Looks) -> None:
    with Cluster(replication={"synchronous": "first 1"}) as cluster:
        for node in cluster.nodes.values():
            node["zone"] = "cellar"
        cluster.write()
        cluster.up()
        assert looks.take(ids(doctor(cluster, 2))) >= {"RST10", "ARC12", "SYN05"}
        cluster.nodes["db2"]["zone"] = "attic"
        cluster.topology["parameters"]["archive_timeout"] = "5min"
        cluster.replication["synchronous"] = "none"
        cluster.apply()
        cluster.ok("backup", "--yes")
        cluster.ok("drill", "--yes")
        assert not {"ARC14", "RST10", "RST13", "ARC12", "SYN05"} & looks.take(ids(doctor(cluster, 0)))

        (system,) = [path for path in cluster.archive.iterdir() if path.name.isdigit()]
        (backup,) = (system / "backups").iterdir()
        base = backup / "base.tar"
        content = bytearray(base.read_bytes())
        content[5_000_000] ^= 1
        base.write_bytes(content)
        cluster.run("backup", "verify").refused("PT-4053", 13)
        made = json.loads(cluster.run("backup", "list", "--json").out)["backups"][0]
        start = cluster.sql("db1", f"SELECT pg_walfile_name('{made['start_lsn']}')")
        (system / start).rename(system / f"{start}.partial")
        assert looks.take(ids(doctor(cluster, 2))) >= {"ARC13", "ARC14", "RST13"}

        cluster.topology["archive"] = {"command": "pgbackrest archive-push %p", "restore": "pgbackrest get %f %p"}
        cluster.write()
        assert "ARC19" in looks.take(ids(doctor(cluster, 0)))


def test_explain_needs_no_cluster(pair: Cluster) -> None:
    done = pair.ok("-f", "/nowhere.toml", "doctor", "explain", "rep13")
    assert done.out.startswith("REP13 (critical)")
    assert len(pair.ok("doctor", "explain").out.splitlines()) >= 93
    words = pair.run("doctor", "explain", "REP99").refused("PT-1006", 10)
    assert "pgtandem doctor explain REP" in words
    pair.run("doctor", "explian").refused("PT-1006", 10)
