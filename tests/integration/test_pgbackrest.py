"""A real pgBackRest keeps the WAL of a cluster: built, archived, fetched by a standby, and taken over by adopt."""

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.test_adopt_here import at, ok
from support.clusters import Cluster, installation
from support.servers import PASSWORD, RealServer, wait_until
from support.slots import drop_slot

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not shutil.which("pgbackrest"), reason="there is no pgBackRest here"),
]

#: The newest that Debian 12's pgBackRest knows.
_MAJOR = 15


@pytest.fixture
def kept() -> Iterator[Cluster]:
    settings = {"min_wal_size": "32MB", "max_wal_size": "32MB"}
    with Cluster(standbys=1, archive=False, on=installation(_MAJOR), parameters=settings) as cluster:
        cluster.folder.chmod(0o777)
        cluster.topology["parameters"]["unix_socket_directories"] = str(cluster.folder)
        cluster.topology["pg_hba"] = {"lines": ["local all postgres trust"]}
        # On one machine both nodes share the configuration, and each has a data directory of its own.
        tool = f'pgbackrest --config={cluster.folder}/pgbackrest.conf --stanza=shop --pg1-path="$PWD"'
        cluster.topology["archive"] = {"command": f"{tool} archive-push %p", "restore": f"{tool} archive-get %f %p"}
        for name in ("repository", "logs"):
            (cluster.folder / name).mkdir()
            cluster.own(cluster.folder / name)
        (cluster.folder / "pgbackrest.conf").write_text(
            f"[global]\nrepo1-path={cluster.folder}/repository\nlog-path={cluster.folder}/logs\n"
            f"lock-path={cluster.folder}/logs\nspool-path={cluster.folder}/logs\n"
            f"[shop]\npg1-path={cluster.data('db1')}\npg1-port={cluster.port('db1')}\npg1-user=postgres\n"
            f"pg1-socket-path={cluster.folder}\n"
        )
        cluster.write()
        yield cluster


def pgbackrest(cluster: Cluster, command: str) -> str:
    argv = ["pgbackrest", f"--config={cluster.folder}/pgbackrest.conf", "--stanza=shop", *command.split()]
    account = {"user": cluster.account, "group": cluster.account, "extra_groups": []} if cluster.account else {}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cluster.folder, check=False, **account)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_a_cluster_archives_to_pgbackrest_and_a_standby_catches_up_from_it(kept: Cluster) -> None:
    refused = kept.run("up", "--yes")
    assert "PT-4007" in refused.err, "there is no stanza yet, and the plan proves that WAL is archived"
    assert "stanza" in refused.err, "pgBackRest's own words"
    pgbackrest(kept, "stanza-create")
    kept.apply()
    kept.converged()
    assert "pgBackRest (what it holds, only that tells): last" in kept.ok("status").out
    assert "pgbackrest" in kept.run("doctor").out
    kept.stop_server("db2")
    needed = drop_slot(kept, "db2")
    kept.write_row("kept by pgBackRest")

    def gone() -> bool:
        kept.sql("db1", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'test', 'x')")
        kept.sql("db1", "CHECKPOINT")
        return not (kept.data("db1") / "pg_wal" / needed).exists()

    wait_until(gone, f"{needed} is gone from the primary", 120)
    kept.apply()
    kept.shows_row("db2", "kept by pgBackRest")
    assert f'restored log file "{needed}" from archive' in kept.log("db2")
    pgbackrest(kept, "check")


def test_adopt_keeps_the_commands_of_pgbackrest(tmp_path: Path) -> None:
    push, get = "pgbackrest --stanza=shop archive-push %p", "pgbackrest --stanza=shop archive-get %f %p"
    with RealServer(installation(_MAJOR)) as primary:
        primary.initdb(settings={"archive_mode": "on", "archive_command": push}).start()
        said = ok(tmp_path, "adopt", *at(primary), PGPASSWORD=PASSWORD)
        assert tomllib.loads((tmp_path / "pgtandem.toml").read_text())["archive"] == {"command": push, "restore": get}
        assert "pgBackRest keeps the WAL archive" in " ".join((said.out + said.err).split())
