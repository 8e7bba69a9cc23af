"""Servers on this machine that somebody else set up, taken over: by password, by socket, cut off, and refused."""

import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import newest
from support.program import PROGRAM, Done, Running
from support.servers import PASSWORD, RealServer, wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pgtandem-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | more


def pgtandem(folder: Path, *arguments: str, **more: str) -> Done:
    done = subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, check=False, cwd=folder, env=environment(**more),
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Done("pgtandem " + " ".join(arguments), done.returncode, done.stdout, done.stderr)


def ok(folder: Path, *arguments: str, **more: str) -> Done:
    done = pgtandem(folder, *arguments, **more)
    assert done.exit_code == 0, done.said
    return done


def at(*servers: RealServer) -> list[str]:
    return [word for each in servers for word in ("--host", f"local,port={each.port}")]


def journal_lines(folder: Path) -> int:
    path = folder / ".pgtandem" / "journal.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def killed_after(folder: Path, lines: int) -> None:
    """apply, kill -9 once so many lines of the journal are written, or at its end."""
    running = Running([str(PROGRAM)], ["apply", "--yes"], {"cwd": folder, "env": environment()})
    enough = journal_lines(folder) + lines
    wait_until(lambda: running.process.poll() is not None or journal_lines(folder) >= enough, "it works", 90)
    running.kill()


@pytest.mark.chaos
def test_a_synchronous_pair_with_a_password_is_taken_over_although_that_is_cut_off_again_and_again(
    folder: Path,
) -> None:
    with RealServer(newest()) as primary, RealServer(newest()) as standby:
        primary.initdb(settings={"work_mem": "6MB"}).start()
        primary.sql("CREATE TABLE note AS SELECT 'kept' AS text")
        standby.base_backup(primary, settings={"work_mem": "7MB"}).start()
        primary.wait_streaming()
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.sql("SELECT pg_reload_conf()")
        primary.wait_for("SELECT sync_state = 'sync' FROM pg_stat_replication")

        wrong = pgtandem(folder, "adopt", *at(primary, standby), PGPASSWORD="wrong")
        assert "does not let postgres in" in wrong.refused("PT-2004", 11)
        assert not (folder / "pgtandem.toml").exists()
        dsn = f"postgres://postgres:{PASSWORD}@127.0.0.1:{standby.port}/postgres"
        only = pgtandem(folder, "adopt", "--dsn", dsn)
        assert f"127.0.0.1:{primary.port}" in only.refused("PT-3002", 12)
        assert PASSWORD not in only.out + only.err
        said = ok(folder, "adopt", "--name", "shop", *at(primary, standby), PGPASSWORD=PASSWORD).said
        assert PASSWORD not in said
        assert (folder / ".pgtandem" / "secrets.json").stat().st_mode & 0o077 == 0
        topology = tomllib.loads((folder / "pgtandem.toml").read_text())
        assert topology["replication"]["synchronous"] == "first 1"
        assert {node["parameters"]["work_mem"] for node in topology["nodes"].values()} == {"6MB", "7MB"}
        assert pgtandem(folder, "adopt", *at(primary)).refused("PT-1005", 10)

        for line in (2, 6, 12, 20):
            killed_after(folder, line)
        ok(folder, "apply", "--yes")
        assert "nothing to do" in ok(folder, "plan").out
        try:
            shown = json.loads(ok(folder, "status", "--json").out)
            assert {node["state"] for node in shown["nodes"]} == {"running", "streaming"}
            assert primary.sql("SELECT text FROM note") == "kept"
            assert primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync"
            assert primary.sql("SHOW work_mem") == "6MB"
            assert standby.sql("SHOW work_mem") == "7MB"
            assert "work_mem" in (primary.data / "pgtandem/before-adoption/postgresql.conf").read_text()
            ok(folder, "switchover", "--yes")
            assert standby.sql("SELECT NOT pg_is_in_recovery()")
            pgtandem(folder, "down", "--destroy", "--yes").refused("PT-3003", 12)
        finally:
            ok(folder, "down", "--yes")


def test_a_lone_server_whose_superuser_has_no_password_is_reached_through_its_socket(folder: Path) -> None:
    with RealServer(newest()) as server:
        server.initdb(settings={"unix_socket_directories": str(server.base)}).start()
        refused = pgtandem(folder, "adopt", *at(server)).refused("PT-1007", 10)
        assert "has a password, and there is no terminal to ask for it" in refused
        server.sql("ALTER ROLE postgres PASSWORD NULL")
        ok(folder, "adopt", "--name", "lone", *at(server))
        plan = pgtandem(folder, "plan")
        assert plan.exit_code == 2, plan.said
        assert "give the superuser postgres a password of its own" in plan.out
        ok(folder, "apply", "--yes")
        try:
            assert "nothing to do" in ok(folder, "plan").out
            assert ok(folder, "psql", "--", "-Atc", "SELECT 1").out.strip() == "1"
        finally:
            ok(folder, "down", "--yes")


def test_what_somebody_else_takes_care_of_and_what_does_not_run_is_refused(folder: Path) -> None:
    with RealServer(newest()) as server:
        server.initdb().start()
        (server.data / "patroni.dynamic.json").write_text("{}")
        said = pgtandem(folder, "adopt", *at(server), PGPASSWORD=PASSWORD).refused("PT-3032", 12)
        assert "in the care of Patroni" in said
        server.stop()
        said = pgtandem(folder, "adopt", *at(server), PGPASSWORD=PASSWORD).refused("PT-1006", 10)
        assert f"at port {server.port}" in said
    pgtandem(folder, "adopt", "--host", "local,prot=1").refused("PT-1006", 10)
    pgtandem(folder, "adopt", "--host", "10.0.0.1").refused("PT-1006", 10)
    pgtandem(folder, "adopt", "--dsn", "postgres://app@127.0.0.1/").refused("PT-1006", 10)
    assert not (folder / "pgtandem.toml").exists()
