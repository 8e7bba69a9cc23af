"""WAL-G's commands as those of a cluster. WAL-G itself is in no package that a test could install: what runs here is a
stand-in, which behaves as WAL-G's manual says of wal-push and wal-fetch with WALG_FILE_PREFIX (a file of the same name
is not written over unless its content is the same, with WALG_PREVENT_WAL_OVERWRITE; a file that is not there: 74)."""

import tomllib
from pathlib import Path

import pytest

from integration.test_adopt_here import at, ok
from support.clusters import Cluster, newest
from support.servers import PASSWORD, RealServer, wait_until
from support.slots import drop_slot

pytestmark = pytest.mark.chaos

STAND_IN = r"""#!/bin/sh
# A stand-in for WAL-G, made by a test.
: "${WALG_FILE_PREFIX:?}"
at=$WALG_FILE_PREFIX/wal_005
case $1 in
wal-push)
    name=${2##*/}
    mkdir -p "$at" || exit 1
    if [ -e "$at/$name.lz4" ]; then
        lz4 -dcq "$at/$name.lz4" | cmp -s - "$2" && exit 0
        echo "ERROR: WAL file '$name' already archived, contents differ, unable to overwrite" >&2
        exit 1
    fi
    lz4 -q "$2" "$at/.$name.part" && mv "$at/.$name.part" "$at/$name.lz4" || exit 1 ;;
wal-fetch)
    [ -e "$at/$2.lz4" ] || { echo "ERROR: Archive '$2' does not exist." >&2; exit 74; }
    lz4 -dqf "$at/$2.lz4" "$3" || exit 1 ;;
*) exit 1 ;;
esac
"""


def test_a_cluster_archives_by_the_commands_of_wal_g_and_a_standby_catches_up_by_them() -> None:
    with Cluster(standbys=1, archive=False, parameters={"min_wal_size": "32MB", "max_wal_size": "32MB"}) as cluster:
        tool = cluster.folder / "wal-g"
        tool.write_text(STAND_IN)
        tool.chmod(0o755)
        kept = cluster.folder / "kept"
        kept.mkdir()
        cluster.own(kept)
        begin = f"env WALG_FILE_PREFIX={kept} {tool}"
        cluster.topology["archive"] = {"command": f"{begin} wal-push %p", "restore": f"{begin} wal-fetch %f %p"}
        cluster.write()
        cluster.up()
        cluster.converged()
        assert "WAL-G (what it holds, only that tells): last" in cluster.ok("status").out
        assert "ARC19" in cluster.run("doctor").out
        for words, command in (
            (("backup", "--yes"), "wal-g backup-push"),
            (("restore", "--to", "latest", "--yes"), "wal-g backup-fetch"),
            (("drill", "--yes"), "wal-g backup-fetch"),
            (("archive", "verify"), "wal-g wal-verify"),
            (("archive", "prune", "--yes"), "wal-g delete"),
            (("backup", "list"), "wal-g backup-list"),
            (("backup", "list", "--json"), "wal-g backup-list"),
            (("backup", "verify", "20260101T000000Z-full"), "wal-g wal-verify"),
            (("backup", "verify"), "wal-g wal-verify"),
        ):
            assert command in cluster.run(*words).refused("PT-3071", 12)
        cluster.stop_server("db2")
        needed = drop_slot(cluster, "db2")
        cluster.write_row("kept by WAL-G's commands")

        def gone() -> bool:
            cluster.sql("db1", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'test', 'x')")
            cluster.sql("db1", "CHECKPOINT")
            return not (cluster.data("db1") / "pg_wal" / needed).exists()

        wait_until(gone, f"{needed} is gone from the primary", 90)
        cluster.apply()
        cluster.shows_row("db2", "kept by WAL-G's commands")
        assert f'restored log file "{needed}" from archive' in cluster.log("db2")
        # A role change goes on with it, and the new timeline's files get there.
        cluster.ok("switchover", "--yes")
        wait_until(lambda: (kept / "wal_005/00000002.history.lz4").exists(), "the new timeline is archived", 60)
        cluster.converged()


def test_adopt_keeps_the_commands_of_wal_g(tmp_path: Path) -> None:
    push, get = "envdir /etc/wal-g.d wal-g wal-push %p", "envdir /etc/wal-g.d wal-g wal-fetch %f %p"
    with RealServer(newest()) as primary:
        primary.initdb(settings={"archive_mode": "on", "archive_command": push}).start()
        said = ok(tmp_path, "adopt", *at(primary), PGPASSWORD=PASSWORD)
        assert tomllib.loads((tmp_path / "pgtandem.toml").read_text())["archive"] == {"command": push, "restore": get}
        assert "WAL-G keeps the WAL archive" in " ".join((said.out + said.err).split())
