"""TLS between nodes and for clients, on real servers that have it (Debian's PostgreSQL 15)."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pgtandem.adapters.certificates import X509Certificates
from pgtandem.model.names import Secret
from support.clusters import Cluster, free_ports
from support.installations import Installation, installations
from support.provoking import Looks, ids, provokes

_WITH_TLS = [found for found in installations() if found.name == "system-15"]
_DAY = 24 * 3600

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not _WITH_TLS, reason="Debian's PostgreSQL 15 is not installed, and the embedded has no TLS"),
]


def with_tls() -> Installation:
    return _WITH_TLS[0]


@pytest.fixture(scope="module")
def built() -> Iterator[Cluster]:
    with Cluster(standbys=2, on=with_tls(), archive=False) as cluster:
        cluster.nodes["db3"]["upstream"] = "db2"
        cluster.topology["tls"] = {}
        cluster.write()
        cluster.up()
        yield cluster


@pytest.fixture
def three(built: Cluster) -> Cluster:
    """db1, db2 below it, db3 below that; managed certificates; converged, as every test must leave it (`apply` sees to
    that)."""
    return built


# --- what there is


def encrypted(cluster: Cluster) -> dict[str, bool]:
    """Of each standby, whether its upstream sees it stream by TLS."""
    query = "SELECT application_name, ssl FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)"
    return {name: tls for node in cluster.nodes for name, tls in cluster.rows(node, query)}


def receivers(cluster: Cluster) -> dict[str, Any]:
    """The WAL receivers' process ids: another one means that the connection was cut."""
    return {name: cluster.sql(name, "SELECT pid FROM pg_stat_wal_receiver") for name in cluster.nodes if name != "db1"}


def starts(cluster: Cluster) -> dict[str, Any]:
    return {name: cluster.started_at(name) for name in cluster.nodes}


def own(cluster: Cluster, node: str, name: str) -> Path:
    return cluster.data(node) / "pgtandem" / name


def certificate(cluster: Cluster, node: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(own(cluster, node, "server.crt").read_bytes())


def public_key(cluster: Cluster, node: str) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate(cluster, node).public_key().public_bytes(serialization.Encoding.DER, form)


def through_uri(cluster: Cluster, *, instead: dict[str, str] | None = None) -> "psycopg.Connection[Any]":
    uri = cluster.ok("uri").out.strip()
    return psycopg.connect(uri, autocommit=True, **(instead or {}))  # type: ignore[arg-type]


def put(cluster: Cluster, path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)
    cluster.own(path)


def stored_ca(cluster: Cluster) -> Secret:
    return Secret(cluster.secrets()["certificate_authority"])


class Writer:
    """An application: writes row after row over one URI, and connects again whenever it was cut off."""

    def __init__(self, uri: str) -> None:
        self.uri, self.rows = uri, 0
        self.complaints: list[str] = []
        self._over = threading.Event()

    def __call__(self) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self.uri, autocommit=True) as connection:
                    connection.execute("CREATE TABLE IF NOT EXISTS written (id serial)")
                    # A new connection now and then, as a pool would make it.
                    for _ in range(20):
                        connection.execute("INSERT INTO written DEFAULT VALUES")
                        self.rows += 1
            except psycopg.Error as error:
                self.complaints.append(str(error))

    @contextmanager
    def at_work(self) -> Iterator["Writer"]:
        thread = threading.Thread(target=self, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join(20)
            assert not thread.is_alive()


# --- built with TLS


def test_standbys_stream_by_tls_and_check_their_upstream(three: Cluster) -> None:
    assert encrypted(three) == {"db2": True, "db3": True}
    for name in ("db2", "db3"):
        assert "sslmode=verify-full sslrootcert=pgtandem/ca.crt" in three.setting(name, "primary_conninfo")
    three.write_row("by TLS")
    three.shows_row("db3", "by TLS")


def test_every_node_has_a_key_of_its_own_that_nobody_else_can_read(three: Cluster) -> None:
    keys = {name: own(three, name, "server.key") for name in three.nodes}
    assert len({path.read_text() for path in keys.values()}) == 3
    for path in keys.values():
        info = path.stat()
        assert (info.st_mode & 0o777, info.st_uid) == (0o600, path.parent.stat().st_uid)
    assert (three.workspace / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" not in (three.workspace / "ca.crt").read_text()
    assert "PRIVATE KEY" not in (three.workspace / "journal.jsonl").read_text()


def test_the_uri_checks_the_server_and_psql_uses_tls(three: Cluster) -> None:
    with through_uri(three) as connection:
        row = connection.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert row == (True, "TLSv1.3")
    said = three.ok("psql", "--", "-Atc", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").out
    assert said.strip() == "t"


@pytest.mark.parametrize("node", ["db1", "db3"])
def test_a_connection_without_tls_is_refused(three: Cluster, node: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        three.connect(node, sslmode="disable")


def test_a_client_that_trusts_another_ca_does_not_connect(three: Cluster) -> None:
    other = X509Certificates().new_authority("other", time.time(), time.time() + _DAY)
    path = three.folder / "other-ca.crt"
    path.write_text(X509Certificates().read_authority(other.reveal()).text)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        through_uri(three, instead={"sslrootcert": str(path)})


def test_a_client_that_calls_the_server_by_another_name_does_not_connect(three: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        through_uri(three, instead={"host": "other.example", "hostaddr": "127.0.0.1", "port": str(three.port("db1"))})


def test_status_tells_when_the_first_certificate_expires(three: Cluster) -> None:
    status = three.status()
    ends = [node["certificate_expires"] for node in status["nodes"]]
    assert status["certificates_expire"] == min(ends)
    assert f"the first expires on {min(ends)[:10]}" in status["tls"]
    assert "tls:" in three.ok("status").out


# --- certificates that need something


@provokes("REP24")
def test_a_certificate_that_expires_soon_is_told_and_renewed_by_a_reload(three: Cluster, looks: Looks) -> None:
    before, streams, key = starts(three), receivers(three), public_key(three, "db2")
    soon = time.time() + 5 * _DAY
    old = own(three, "db2", "server.crt").read_text()
    short = X509Certificates().new_certificate(
        stored_ca(three), "db2", ("127.0.0.1", "db2", "localhost"), time.time(), soon, same_key_as=old
    )
    put(three, own(three, "db2", "server.crt"), short.certificate)
    three.sql("db2", "SELECT pg_reload_conf()")
    status = three.run("status")
    assert status.exit_code == 2
    assert "the certificate of db2 expires on" in status.out
    assert three.step_kinds() == [("write_certificate", "db2")]
    assert "REP24" in looks.take(ids(json.loads(three.run("doctor", "--json").out)))

    three.apply()
    looks.take(ids(json.loads(three.run("doctor", "--json").out)))
    left = certificate(three, "db2").not_valid_after_utc.timestamp() - time.time()
    assert 360 * _DAY < left < 366 * _DAY
    assert three.status()["nodes"][1]["certificate_expires"] > three.status()["nodes"][0]["certificate_expires"][:10]
    assert public_key(three, "db2") == key
    assert (starts(three), receivers(three)) == (before, streams)


def test_an_expired_certificate_is_renewed(three: Cluster) -> None:
    old = own(three, "db1", "server.crt").read_text()
    expired = X509Certificates().new_certificate(
        stored_ca(three), "db1", ("127.0.0.1", "db1", "localhost"), time.time() - _DAY, time.time() - 60,
        same_key_as=old,
    )  # fmt: skip
    put(three, own(three, "db1", "server.crt"), expired.certificate)
    three.sql("db1", "SELECT pg_reload_conf()")
    assert "the certificate of db1 expired on" in three.run("status").out
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        through_uri(three)
    three.apply()
    through_uri(three).close()


def test_a_certificate_that_was_written_and_not_loaded_is_loaded(three: Cluster) -> None:
    old = own(three, "db3", "server.crt").read_text()
    now = time.time()
    again = X509Certificates().new_certificate(
        stored_ca(three), "db3", ("127.0.0.1", "db3", "localhost"), now, now + 300 * _DAY, same_key_as=old
    )
    put(three, own(three, "db3", "server.crt"), again.certificate)
    assert three.step_kinds() == [("reload", "db3")]
    three.apply()


def test_a_lost_key_and_a_foreign_certificate_are_replaced(three: Cluster) -> None:
    before = starts(three)
    three.stop_server("db2")
    own(three, "db2", "server.key").unlink()
    other = X509Certificates().new_authority("other", time.time(), time.time() + 100 * _DAY)
    foreign = X509Certificates().new_certificate(
        other, "db3", ("127.0.0.1", "db3", "localhost"), time.time(), time.time() + 90 * _DAY
    )
    assert foreign.key is not None
    put(three, own(three, "db3", "server.key"), foreign.key.reveal())
    put(three, own(three, "db3", "server.crt"), foreign.certificate)
    three.sql("db3", "SELECT pg_reload_conf()")
    assert "the certificate of db3 is not from the cluster's CA" in three.run("status").out
    three.apply()
    assert {name: when for name, when in starts(three).items() if when != before[name]}.keys() == {"db2"}
    assert encrypted(three) == {"db2": True, "db3": True}


def test_a_lost_ca_is_replaced_and_no_standby_is_cut_off(three: Cluster) -> None:
    before, streams = starts(three), receivers(three)
    secrets = three.secrets()
    lost = secrets.pop("certificate_authority")
    (three.workspace / "secrets.json").write_text(json.dumps(secrets))
    three.apply()
    assert three.secrets()["certificate_authority"] != lost
    assert (starts(three), receivers(three)) == (before, streams)
    for name in three.nodes:
        text = own(three, name, "ca.crt").read_text()
        assert text.count("BEGIN") == 1, "the old CA is not trusted any more"
        assert text in three.secrets()["certificate_authority"]
    through_uri(three).close()


def test_a_standby_is_added_by_tls(three: Cluster) -> None:
    three.nodes["db4"] = {"port": free_ports(1)[0], "upstream": "db3", "address": "127.0.0.2"}
    three.apply()
    assert encrypted(three)["db4"] is True
    del three.nodes["db4"]
    three.apply()


# --- on, off, and one's own


def test_tls_is_switched_off_and_on_under_a_writer(three: Cluster) -> None:
    before = starts(three)
    plain = three.ok("uri").out.strip().partition("&sslmode")[0]
    with Writer(plain).at_work() as writer:
        tls = three.topology.pop("tls")
        three.apply()
        with three.connect("db1", sslmode="disable") as connection:
            connection.execute("SELECT 1")
        assert {three.setting(name, "ssl") for name in three.nodes} == {"off"}
        assert not own(three, "db1", "server.key").exists()
        assert "sslmode" not in three.ok("uri").out
        three.topology["tls"] = tls
        three.apply()
    assert writer.complaints == []
    assert writer.rows > 100
    assert starts(three) == before
    assert encrypted(three) == {"db2": True, "db3": True}
    written = three.sql("db1", "SELECT count(*) FROM written")
    assert written == writer.rows
    three.wait_for("db3", f"SELECT count(*) = {written} FROM written")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        three.connect("db1", sslmode="disable")


def test_tls_that_is_not_required_lets_others_in_without_it(three: Cluster) -> None:
    three.topology["tls"]["required"] = False
    three.apply()
    three.connect("db1", sslmode="disable").close()
    assert encrypted(three) == {"db2": True, "db3": True}
    del three.topology["tls"]["required"]
    three.apply()
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        three.connect("db1", sslmode="disable")


def test_certificates_of_ones_own_and_back_again(three: Cluster) -> None:
    maker, now = X509Certificates(), time.time()
    before = starts(three)
    ca = maker.new_authority("company", now, now + 900 * _DAY)
    folder = three.base / "own"
    folder.mkdir(mode=0o755)
    (three.folder / "company-ca.crt").write_text(maker.read_authority(ca.reveal()).text)
    for name in three.nodes:
        made = maker.new_certificate(ca, f"{name}.example", ("127.0.0.1", f"{name}.example"), now, now + 200 * _DAY)
        assert made.key is not None
        put(three, folder / f"{name}.crt", made.certificate, 0o644)
        put(three, folder / f"{name}.key", made.key.reveal())
        three.nodes[name] |= {
            "certificate": str(folder / f"{name}.crt"),
            "certificate_key": str(folder / f"{name}.key"),
        }
    three.topology["tls"] = {"certificates": "own", "ca": "company-ca.crt"}
    three.apply()
    assert encrypted(three) == {"db2": True, "db3": True}
    assert starts(three) == before
    assert three.setting("db1", "ssl_key_file") == str(folder / "db1.key")
    assert not own(three, "db1", "server.key").exists()
    through_uri(three).close()

    # One that was renewed by hand is loaded.
    made = maker.new_certificate(ca, "db2.example", ("127.0.0.1",), now, now + 250 * _DAY)
    assert made.key is not None
    put(three, folder / "db2.key", made.key.reveal())
    put(three, folder / "db2.crt", made.certificate, 0o644)
    assert three.step_kinds() == [("reload", "db2")]
    three.apply()

    # What the servers would not take, or who checks it, is refused.
    (folder / "db2.key").chmod(0o644)
    assert "the private key" in three.run("plan").refused("PT-3017", 12)
    (folder / "db2.key").chmod(0o600)
    wrong = maker.new_certificate(ca, "db3", ("db3.example",), now, now + 250 * _DAY)
    kept = (folder / "db3.crt").read_text()
    put(three, folder / "db3.crt", wrong.certificate, 0o644)
    assert "is not for its address 127.0.0.1" in three.run("plan").refused("PT-3017", 12)
    (folder / "db3.crt").unlink()
    assert "cannot be read" in three.run("plan").refused("PT-3017", 12)
    put(three, folder / "db3.crt", kept, 0o644)

    for name in three.nodes:
        del three.nodes[name]["certificate"], three.nodes[name]["certificate_key"]
    three.topology["tls"] = {}
    three.apply()
    assert encrypted(three) == {"db2": True, "db3": True}
    assert three.setting("db1", "ssl_cert_file") == "pgtandem/server.crt"


def test_programs_without_tls_are_refused_before_anything_is_made() -> None:
    embedded = next(found for found in installations() if found.name.startswith("embedded"))
    with Cluster(on=embedded) as cluster:
        cluster.topology["tls"] = {}
        cluster.write()
        with cluster.unchanged():
            said = cluster.run("up", "--yes").refused("PT-3016", 12)
        assert 'binaries = "system"' in said
