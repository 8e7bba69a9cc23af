"""What somebody changed behind pgtandem's back is mended, and what is theirs stays theirs."""

import os
from collections.abc import Iterator

import psycopg
import pytest

from support.clusters import REPLICATION_ROLE, Cluster
from support.servers import wait_until
from support.slots import drop_slot


@pytest.fixture(scope="module")
def built() -> Iterator[Cluster]:
    with Cluster(standbys=2, parameters={"work_mem": "6MB"}) as cluster:
        cluster.nodes["db3"]["upstream"] = "db2"
        cluster.write()
        cluster.up()
        yield cluster


@pytest.fixture
def three(built: Cluster) -> Cluster:
    """Converged, as every test must leave it."""
    assert built.run("plan").exit_code == 0, "an earlier test has left changes"
    return built


def mended(cluster: Cluster) -> None:
    """There is something to do, and afterwards there is not."""
    assert cluster.run("plan").exit_code == 2
    cluster.apply()


def test_what_alter_system_hides_is_taken_back_and_the_users_own_settings_stay(three: Cluster) -> None:
    for node in ("db1", "db3"):
        three.sql(node, "ALTER SYSTEM SET work_mem = '99MB'")
        three.sql(node, "ALTER SYSTEM SET log_min_duration_statement = '123s'")
        three.sql(node, "SELECT pg_reload_conf()")
    mended(three)
    for node in ("db1", "db3"):
        assert three.setting(node, "work_mem") == "6MB"
        assert three.setting(node, "log_min_duration_statement") == "123s"


def test_settings_that_the_server_spells_in_its_own_way_converge_and_are_seen_when_they_are_not_loaded(
    three: Cluster,
) -> None:
    ours = {
        "timezone": "asia/tokyo", "log_timezone": "-9", "DateStyle": "german, ymd", "intervalstyle": "ISO_8601",
        "TimeZone_Abbreviations": "India", "bytea_output": "Escape",
    }  # fmt: skip
    three.topology["parameters"] |= ours
    three.apply()
    assert three.setting("db3", "TimeZone") == "Asia/Tokyo"
    assert three.setting("db3", "DateStyle") == "German, YMD"
    path = three.data("db3") / "pgtandem" / "settings.conf"
    whole = path.read_text()
    for name, value in (
        ("timezone", "Europe/Berlin"), ("datestyle", "sql, ymd"), ("datestyle", "german, dmy"),
        ("intervalstyle", "postgres"), ("timezone_abbreviations", "Default"),
    ):  # fmt: skip
        # Somebody's edit was read, and its end was not.
        path.write_text(whole + f"{name} = '{value}'\n")
        three.sql("db3", "SELECT pg_reload_conf()")
        three.wait_for("db3", f"SELECT lower(replace(current_setting('{name}'), ' ', '')) = "
                              f"lower(replace('{value}', ' ', ''))")  # fmt: skip
        path.write_text(whole)
        assert three.step_kinds() == [("reload", "db3")], name
        three.apply()
    for name in ours:
        del three.topology["parameters"][name]
    three.apply()
    assert three.setting("db3", "DateStyle") == "ISO, MDY"


def test_what_the_superuser_has_for_itself_hides_nothing_of_the_servers(three: Cluster) -> None:
    """ALTER ROLE and ALTER DATABASE reach pgtandem's own sessions: the values there are not what clients get."""
    own = "-c default_transaction_read_only=off -c role=none"
    three.topology["parameters"] |= {"statement_timeout": "2min", "temp_buffers": "16MB"}
    three.apply()
    for words in ("ROLE postgres", "DATABASE postgres", "ROLE postgres IN DATABASE postgres"):
        for setting in (
            "work_mem = '99MB'", "statement_timeout = '1s'", "synchronous_commit = off", "temp_buffers = '32MB'",
            "search_path = nowhere", "datestyle = 'german'", "default_transaction_read_only = on",
            "role = pg_monitor",
        ):  # fmt: skip
            three.sql("db1", f"ALTER {words} SET {setting}", options=own)
    assert three.setting("db1", "work_mem") == "99MB"
    three.wait_for("db3", "SELECT count(*) = 3 FROM pg_db_role_setting")
    three.converged()
    # The other way round: what is seen is what is wished, and clients get something else.
    three.topology["parameters"]["work_mem"] = "99MB"
    three.write()
    assert ("write_files", "db3") in three.step_kinds()
    three.apply()
    path = three.data("db3") / "pgtandem" / "settings.conf"
    whole = path.read_text()
    path.write_text(whole.replace("'99MB'", "'98MB'"))
    written = three.sql("db3", "SELECT extract(epoch FROM pg_postmaster_start_time())::float - 5")
    os.utime(path, (written, written))
    before = three.sql("db3", "SELECT pg_conf_load_time()::text")
    three.sql("db3", "SELECT pg_reload_conf()", options=own)
    three.wait_for("db3", f"SELECT pg_conf_load_time() > '{before}'")
    ahead = float(three.sql("db3", "SELECT extract(epoch FROM clock_timestamp())::float"))
    wait_until(lambda: path.write_text(whole) and path.stat().st_mtime > ahead + 1, "the file is a second younger")
    assert ("reload", "db3") in three.step_kinds(), three.run("plan").out
    three.apply()
    for words in ("ROLE postgres", "DATABASE postgres", "ROLE postgres IN DATABASE postgres"):
        three.sql("db1", f"ALTER {words} RESET ALL", options=own)
    for name in ("statement_timeout", "temp_buffers"):
        del three.topology["parameters"][name]
    three.topology["parameters"]["work_mem"] = "6MB"
    three.apply()
    assert three.setting("db3", "work_mem") == "6MB"


def test_lines_of_pg_hba_conf_that_match_nobody_or_cannot_be_read_are_told_and_stay(three: Cluster) -> None:
    path = three.data("db2") / "pg_hba.conf"
    mine = "hostssl all all 10.0.0.0/8 scram-sha-256\n"
    three.edit(path, lambda text: text + mine)
    three.sql("db2", "SELECT pg_reload_conf()")
    (problem,) = three.status()["problems"]
    number = path.read_text().count("\n")
    assert problem.startswith(f"line {number} of pg_hba.conf on db2 matches nobody: "), problem
    assert three.run("plan").exit_code == 0
    three.edit(path, lambda text: text + "hots all all all trust\n")
    (broken, _) = three.status()["problems"]
    assert broken.startswith(f"db2 cannot read line {number + 1} of its pg_hba.conf: "), broken
    assert three.run("plan").exit_code == 0
    three.edit(path, lambda text: text.replace(mine, "").replace("hots all all all trust\n", ""))
    three.converged()


def test_a_setting_of_alter_system_that_needs_a_restart_is_taken_back(three: Cluster) -> None:
    three.sql("db1", "ALTER SYSTEM SET max_wal_senders = 33")
    three.sql("db2", "ALTER SYSTEM SET max_wal_senders = 44")
    three.stop_server("db2")
    mended(three)
    assert three.setting("db1", "max_wal_senders") == three.setting("db2", "max_wal_senders") == "20"
    assert three.sql("db1", "SELECT count(*) FROM pg_settings WHERE pending_restart") == 0


def test_a_removed_include_line_is_put_back(three: Cluster) -> None:
    for node in ("db1", "db2"):
        path = three.data(node) / "postgresql.conf"
        three.edit(path, lambda text: text.replace("include 'pgtandem/settings.conf'\n", "# mine\n"))
    mended(three)
    for node in ("db1", "db2"):
        assert "# mine\n" in (three.data(node) / "postgresql.conf").read_text()
        assert three.setting(node, "work_mem") == "6MB"


def test_a_setting_written_below_the_include_line_loses(three: Cluster) -> None:
    path = three.data("db1") / "postgresql.conf"
    path.write_text(path.read_text() + "work_mem = '77MB'  # by hand\n")
    three.sql("db1", "SELECT pg_reload_conf()")
    mended(three)
    assert three.setting("db1", "work_mem") == "6MB"
    assert "work_mem = '77MB'  # by hand" in path.read_text()


@pytest.mark.parametrize("name", ["settings.conf", "archive-wal", "restore-wal", "passfile", "system_identifier"])
def test_a_file_of_pgtandem_that_was_edited_or_removed_is_written_again(three: Cluster, name: str) -> None:
    edited, removed = three.data("db1") / "pgtandem" / name, three.data("db2") / "pgtandem" / name
    content = edited.read_text(), removed.read_text()
    edited.write_text("# by hand\n")
    removed.unlink()
    mended(three)
    assert (edited.read_text(), removed.read_text()) == content
    three.write_row(f"after {name}")
    three.shows_row("db3", f"after {name}")


def test_an_edited_block_of_pg_hba_is_mended_and_the_users_lines_stay(three: Cluster) -> None:
    path = three.data("db1") / "pg_hba.conf"
    own = "host  all  reporting  192.0.2.0/24  scram-sha-256   # the user's own"
    path.write_text(path.read_text() + own + "\n")
    three.edit(path, lambda text: text.replace(f"{REPLICATION_ROLE}", "somebody_else"))
    mended(three)
    text = path.read_text()
    assert own in text
    assert "somebody_else" not in text
    assert text.count("begin of pgtandem's lines") == 1
    # The last line of the block lost: what follows is still the user's.
    three.edit(path, lambda text: text.replace("# end of pgtandem's lines\n", ""))
    mended(three)
    assert own in path.read_text()
    assert path.read_text().count(REPLICATION_ROLE) == text.count(REPLICATION_ROLE)


def test_a_reject_line_above_the_block_does_not_stop_replication(three: Cluster) -> None:
    path = three.data("db1") / "pg_hba.conf"
    path.write_text("host replication all all reject\n" + path.read_text())
    three.sql("db1", "SELECT pg_reload_conf()")
    three.stop_server("db2")
    mended(three)
    assert "host replication all all reject" in path.read_text()
    three.write_row("past the reject")
    three.shows_row("db2", "past the reject")
    three.edit(path, lambda text: text.replace("host replication all all reject\n", ""))


def test_a_dropped_slot_is_made_again(three: Cluster) -> None:
    three.stop_server("db2")
    drop_slot(three, "db2")
    mended(three)
    assert three.slots("db1") == ["pgtandem_db2"]
    assert three.sql("db1", "SELECT active FROM pg_replication_slots")
    three.write_row("through the new slot")
    three.shows_row("db3", "through the new slot")


def test_a_slot_dropped_under_a_streaming_standby_is_made_again(three: Cluster) -> None:
    pid = three.pid("db3")
    with three.connect("db2") as connection:

        def dropped() -> bool:
            connection.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
            try:
                connection.execute("SELECT pg_drop_replication_slot('pgtandem_db3')")
            except psycopg.errors.ObjectInUse:
                return False
            return True

        wait_until(dropped, "the slot is dropped between two connections", 60)
    mended(three)
    assert three.slots("db2") == ["pgtandem_db3"]
    assert three.pid("db3") == pid


def test_a_changed_password_of_the_role_is_mended(three: Cluster) -> None:
    three.sql("db1", f"ALTER ROLE {REPLICATION_ROLE} PASSWORD 'guess'")
    mended(three)
    three.stop_server("db2")
    three.up()
    assert three.streams("db1") == ["db2"]


def test_a_role_that_was_weakened_or_strengthened_is_mended(three: Cluster) -> None:
    three.sql("db1", f"ALTER ROLE {REPLICATION_ROLE} SUPERUSER NOLOGIN VALID UNTIL '2001-01-01'")
    mended(three)
    query = f"SELECT rolsuper, rolcanlogin, rolreplication FROM pg_roles WHERE rolname = '{REPLICATION_ROLE}'"
    assert three.rows("db1", query) == [(False, True, True)]


def test_a_stopped_standby_without_its_signal_file_never_starts_as_a_primary(three: Cluster) -> None:
    three.stop_server("db3")
    (three.data("db3") / "standby.signal").unlink()
    mended(three)
    assert three.sql("db3", "SELECT pg_is_in_recovery()") is True
    assert (three.data("db3") / "standby.signal").exists()


def test_a_running_standby_without_its_signal_file_gets_it_back(three: Cluster) -> None:
    (three.data("db2") / "standby.signal").unlink()
    mended(three)
    assert (three.data("db2") / "standby.signal").exists()


def test_the_old_place_of_a_moved_archive_keeps_what_it_has(three: Cluster) -> None:
    three.topology["archive"]["directory"] = "archive2"
    three.nothing_waits_for_the_archive()  # what an earlier test finished goes to the old place still
    before = three.archived()
    three.apply()
    assert three.archived() == before
    assert len(list((three.folder / "archive2").iterdir())) == 1
    three.topology["archive"]["directory"] = "archive"
    three.apply()


def test_an_archive_folder_that_vanished_is_made_again(three: Cluster) -> None:
    three.archive.rename(three.folder / "moved-away")
    three.own(three.folder)
    # That nothing is seen there does not mean that nothing was archived.
    for command in ("archive", "archive verify", "archive prune --yes", "backup list", "backup verify", "restore"):
        assert "moved or removed, or its disk is not mounted" in three.run(*command.split()).refused("PT-3008", 12)
    mended(three)
    assert three.archived()


def test_the_users_own_things_survive_everything(three: Cluster) -> None:
    three.sql("db1", "CREATE ROLE reporting LOGIN PASSWORD 'x'")
    three.sql("db1", "CREATE DATABASE shop")
    for node in ("db1", "db2"):
        three.sql(node, "SELECT pg_create_physical_replication_slot('their_own')")
    for node in three.nodes:
        own = three.data(node) / "their own file"
        own.write_text("keep")
        three.own(own)
        path = three.data(node) / "postgresql.conf"
        three.edit(path, lambda text: "log_connections = on  # their own\n" + text)
    three.apply()
    three.topology["parameters"]["max_connections"] = 120
    three.apply()
    three.ok("down", "--yes")
    three.up()
    assert three.slots("db1") == ["pgtandem_db2", "their_own"]
    assert three.slots("db2") == ["pgtandem_db3", "their_own"]
    assert three.sql("db1", "SELECT count(*) FROM pg_roles WHERE rolname = 'reporting'") == 1
    for node in three.nodes:
        assert (three.data(node) / "their own file").read_text() == "keep"
        assert (three.data(node) / "postgresql.conf").read_text().startswith("log_connections = on  # their own\n")
        assert three.setting(node, "log_connections") in ("on", "all")
    assert os.stat(three.data("db1") / "pg_hba.conf").st_mode & 0o077 == 0
