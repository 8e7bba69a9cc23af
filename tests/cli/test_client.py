"""Where clients are led."""

from dataclasses import replace

from cli import values
from pgtandem.cli.client import client_environment, client_uri


def test_who_only_reads_tries_a_delayed_standby_last() -> None:
    late = values.topology(values.node("db1", 5432), replace(values.node("db2", 5433), apply_delay="1h"),
                           values.node("db3", 5434))  # fmt: skip
    ports = ("5432", "5434", "5433")
    assert client_environment(late, None, {}, read_only=True)["PGPORT"] == ",".join(ports)
    uri = client_uri(late, None, read_only=True)
    assert sorted(ports, key=uri.index) == list(ports)
    assert client_environment(late, None, {})["PGPORT"] == "5432,5433,5434"
