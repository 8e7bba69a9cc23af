"""Sessions by TLS with a real server that has it: what is checked, what is not, and what nobody is talked into."""

import asyncio
import shutil
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgtandem.adapters.certificates import X509Certificates
from pgtandem.adapters.database import PsycopgDatabase
from pgtandem.model.names import NodeName, Secret
from pgtandem.ports.database import Access, DatabaseUnreachable, Encryption
from support.installations import installations
from support.servers import RealServer, wait_until
from support.sessions import access_to

_WITH_TLS = [found for found in installations() if found.name == "system-15"]
_DAY = 24 * 3600
_MAKER = X509Certificates()

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not _WITH_TLS, reason="Debian's PostgreSQL 15 is not installed, and the embedded has no TLS"),
]


def put(server: RealServer, ca: Secret, *, until: float = 90 * _DAY, name: str = "127.0.0.1") -> str:
    """Gives the server a certificate, and makes it load that; the certificate."""
    now = time.time()
    made = _MAKER.new_certificate(ca, "db1", (name,), now - 2 * _DAY, now + until)
    assert made.key is not None
    for file, text in (("server.crt", made.certificate), ("server.key", made.key.reveal())):
        path = server.data / file
        path.write_text(text)
        path.chmod(0o600)
        if server.account:
            shutil.chown(path, server.account)
    if server.alive:
        server.sql("SELECT pg_reload_conf()")
        wait_until(lambda: served(server) == made.certificate, "the certificate is loaded")
    return made.certificate


def served(server: RealServer) -> str:
    seen = asyncio.run(PsycopgDatabase().served_certificate(NodeName("db1"), "127.0.0.1", server.port))
    return ssl.DER_cert_to_PEM_cert(seen or b"")


@pytest.fixture(scope="module")
def ca() -> Secret:
    return _MAKER.new_authority("shop", time.time(), time.time() + 1000 * _DAY)


@pytest.fixture(scope="module")
def server(ca: Secret) -> Iterator[RealServer]:
    with RealServer(_WITH_TLS[0]) as server:
        server.initdb(settings={"ssl": "on"})
        put(server, ca)
        yield server.start()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def access(server: RealServer, ca: Secret, tmp_path: Path) -> Access:
    put(server, ca)
    root = tmp_path / "ca.crt"
    root.write_text(_MAKER.read_authority(ca.reveal()).text)
    return replace(access_to(server, "db1"), encryption=Encryption.REQUIRED, root_certificate=str(root))


def by_tls(runner: asyncio.Runner, server: RealServer, access: Access) -> bool:
    """Whether the server sees the session use TLS."""
    session = runner.run(PsycopgDatabase().connect(access))
    try:
        query = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'pgtandem'"
        return bool(server.sql(query))
    finally:
        runner.run(session.close())


@pytest.mark.parametrize("encryption", Encryption)
def test_session_uses_tls_where_the_server_has_it(
    runner: asyncio.Runner, server: RealServer, access: Access, encryption: Encryption
) -> None:
    assert by_tls(runner, server, replace(access, encryption=encryption))


@pytest.mark.parametrize(
    ("until", "name"), [(-_DAY, "127.0.0.1"), (90 * _DAY, "other.example")], ids=["expired", "another name"]
)
def test_certificate_that_does_not_pass_is_taken_where_scram_proves_the_server(
    runner: asyncio.Runner, server: RealServer, access: Access, ca: Secret, until: float, name: str
) -> None:
    put(server, ca, until=until, name=name)
    assert by_tls(runner, server, access)


@pytest.fixture
def trusting(server: RealServer) -> Iterator[RealServer]:
    """It asks for no password, so that it never has to show that it knows that: only its certificate counts."""
    hba = server.data / "pg_hba.conf"
    before = hba.read_text()
    for text in ("host all all all trust\n", before):
        hba.write_text(text)
        server.sql("SELECT pg_reload_conf()")
        trusted = len(text) < len(before)
        wait_until(lambda wish=trusted: _lets_in(server) == wish, "pg_hba.conf is read")  # type: ignore[misc]
        if trusted:
            yield server


def _lets_in(server: RealServer) -> bool:
    """Whether it takes a wrong password."""
    try:
        server.connect(password="wrong").close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("encryption", [Encryption.PREFERRED, Encryption.REQUIRED])
def test_bad_certificate_is_not_taken_where_nothing_else_proves_the_server(
    runner: asyncio.Runner, trusting: RealServer, access: Access, ca: Secret, encryption: Encryption
) -> None:
    put(trusting, ca, until=-_DAY)
    with pytest.raises(DatabaseUnreachable) as caught:
        runner.run(PsycopgDatabase().connect(replace(access, encryption=encryption)))
    assert "certificate verify failed" in caught.value.why


def test_certificate_is_checked_for_the_name_and_not_for_the_way_there(
    runner: asyncio.Runner, trusting: RealServer, access: Access, ca: Secret
) -> None:
    put(trusting, ca, name="db1.example")
    assert by_tls(runner, trusting, replace(access, name="db1.example"))
    with pytest.raises(DatabaseUnreachable) as caught:
        runner.run(PsycopgDatabase().connect(replace(access, name="db2.example")))
    assert "does not match host name" in caught.value.why


def test_only_who_may_goes_on_without_tls(runner: asyncio.Runner, server: RealServer, access: Access) -> None:
    server.sql("ALTER SYSTEM SET ssl = off")
    server.sql("SELECT pg_reload_conf()")
    try:
        server.wait_for("SELECT current_setting('ssl') = 'off'")
        assert not by_tls(runner, server, replace(access, encryption=Encryption.PREFERRED))
        with pytest.raises(DatabaseUnreachable) as caught:
            runner.run(PsycopgDatabase().connect(access))
        assert "server does not support SSL" in caught.value.why
    finally:
        server.sql("ALTER SYSTEM RESET ssl")
        server.sql("SELECT pg_reload_conf()")


def test_served_certificate_is_the_loaded_one(
    runner: asyncio.Runner, server: RealServer, access: Access, ca: Secret
) -> None:
    served = PsycopgDatabase().served_certificate
    first = put(server, ca)
    seen = runner.run(served(NodeName("db1"), "127.0.0.1", server.port))
    assert seen is not None
    assert _MAKER.read(seen, None) == _MAKER.read(first.encode(), None)
    (server.data / "server.crt").write_text("x")
    assert runner.run(served(NodeName("db1"), "127.0.0.1", server.port)) == seen
    assert "could not receive data" not in server.log.read_text()


def test_served_certificate_of_nobody_is_told(runner: asyncio.Runner, server: RealServer) -> None:
    with RealServer(_WITH_TLS[0]) as other:
        with pytest.raises(DatabaseUnreachable) as caught:
            runner.run(PsycopgDatabase().served_certificate(NodeName("db1"), "127.0.0.1", other.port))
        assert "refused" in caught.value.why


def test_server_without_tls_shows_no_certificate(runner: asyncio.Runner) -> None:
    embedded = next(found for found in installations() if found.name.startswith("embedded"))
    with RealServer(embedded) as server:
        server.initdb().start()
        assert runner.run(PsycopgDatabase().served_certificate(NodeName("db1"), "127.0.0.1", server.port)) is None
