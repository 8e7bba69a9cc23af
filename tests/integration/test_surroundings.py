"""Where and as whom it runs: another user, odd paths, a taken port 5432, terminals and pipes."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator

import psycopg
import pytest

from support.clusters import Cluster, installation, newest
from support.installations import installations
from support.ordinary import USER, reason_to_skip, run_as_user, user_name_of


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.up()
        yield cluster


# --- as whom


@pytest.mark.parametrize(
    "major",
    [
        pytest.param(major, id=str(major), marks=() if major == newest().major else pytest.mark.chaos)
        for major in sorted({found.major for found in installations()})
    ],
)
def test_an_ordinary_user_builds_uses_and_removes_a_cluster(major: int) -> None:
    if reason := reason_to_skip():
        pytest.skip(reason)
    with Cluster(on=installation(major), replication={"synchronous": "any 1"}) as cluster:
        run_as_user(cluster)
        cluster.up()
        cluster.converged()
        assert "nothing to do" in cluster.up().out
        cluster.write_row("an ordinary user's")
        cluster.shows_row("db2", "an ordinary user's")
        owners = {user_name_of(path)[0] for path in cluster.folder.rglob("*")}
        assert owners == {USER}
        cluster.kill_server("db2")
        cluster.apply()
        # What is another user's is left to that user, also by root.
        mine, cluster.as_user = cluster.as_user, {}
        assert USER in cluster.run("apply", "--yes").refused("PT-1008", 10)
        cluster.as_user = mine
        cluster.ok("down", "--destroy", "--yes")
        assert cluster.processes() == {}
        assert {path.name for path in cluster.folder.iterdir()} <= {"pgtandem.toml", "share"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lets servers run as another account")
def test_roots_servers_run_as_the_account_and_root_keeps_the_secrets(pair: Cluster) -> None:
    for name in pair.nodes:
        pid = pair.pid(name)
        assert pid is not None
        with open(f"/proc/{pid}/status") as file:
            uids = re.search(r"^Uid:\t(\d+)", file.read(), re.MULTILINE)
        assert uids is not None
        assert int(uids[1]) != 0
    assert (pair.workspace / "secrets.json").stat().st_uid == 0
    assert pair.workspace.stat().st_mode & 0o777 == 0o700


def test_a_servers_environment_has_nothing_of_the_caller(pair: Cluster) -> None:
    """A password, a locale or a libpq setting of whoever called must not live on in a server for years."""
    with Cluster(standbys=0) as cluster:
        cluster.environment = {
            "PGDATA": "/nonexistent",
            "PGPASSWORD": "hunter2",
            "PGPORT": "1",
            "LC_ALL": "C",
            "TZ": "X",
        }
        cluster.environment |= {"PGOPTIONS": "-c nonsense=1", "PGSSLMODE": "verify-full", "PGSERVICE": "nowhere"}
        cluster.up()
        pid = cluster.pid("db1")
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
        assert b"hunter2" not in environment
        assert b"PGPORT" not in environment
        cluster.environment = {}
        assert cluster.ok("psql", "--", "-XAtc", "SELECT 1").out == "1\n"


# --- where


def test_a_folder_that_pg_ctl_could_not_start_a_server_in_is_refused_at_once() -> None:
    for character in '"$`\\':
        with Cluster(subfolder=f"a{character}b") as cluster:
            words = cluster.run("up", "--yes").refused("PT-1004", 10)
            assert f"has a {character} in it" in words
            assert [path.name for path in cluster.folder.iterdir()] == ["pgtandem.toml"]


def test_a_path_with_a_blank_a_quote_a_percent_sign_and_an_accent() -> None:
    with Cluster(subfolder="it's a tést (100%) & more; *", replication={"synchronous": "any 1"}) as cluster:
        cluster.up()
        cluster.converged()
        cluster.write_row("from an odd path")
        cluster.shows_row("db2", "from an odd path")
        uri = cluster.ok("uri").out.strip()
        with psycopg.connect(uri) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert cluster.ok("psql", "--", "-XAtc", "SELECT 1").out == "1\n"
        # Its segments come back from the archive, too.
        cluster.ok("down", "--yes")
        cluster.up()
        assert any(len(name) == 24 for name in cluster.archived())
        cluster.ok("down", "--destroy", "--yes")
        assert [path.name for path in cluster.folder.rglob("*")] == ["pgtandem.toml"]


def test_the_path_may_have_a_locale_that_knows_no_accents() -> None:
    with Cluster(standbys=0, subfolder="tést") as cluster:
        cluster.environment = {"LC_ALL": "C", "LANG": "C", "LANGUAGE": "C"}
        cluster.up()
        assert cluster.run("status").exit_code == 0
        cluster.ok("down", "--destroy", "--yes")


def test_another_folder_is_named_by_its_path_or_its_file(pair: Cluster) -> None:
    elsewhere = Cluster(standbys=0)
    with elsewhere:
        for words in (
            ("-f", str(pair.file), "status"),
            ("status", "-f", str(pair.file)),
            ("-f", str(pair.file), "plan"),
        ):
            done = elsewhere.run(*words)
            assert done.exit_code == 0, done.said
        assert "nothing to do" in elsewhere.ok("up", "--yes", os.path.relpath(pair.folder, elsewhere.folder)).out
        elsewhere.file.unlink()
        elsewhere.run("status").refused("PT-1001", 10)


def test_with_another_server_on_port_5432_up_takes_other_ports() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        with contextlib.suppress(OSError):  # somebody else's server is there already: all the better
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", 5432))
            listener.listen()
        cluster = stack.enter_context(Cluster())
        cluster.file.unlink()
        cluster.up()
        text = cluster.file.read_text()
        assert "port = 5432" not in text
        assert cluster.port("db1") != cluster.port("db2") != 5432
        assert cluster.ok("psql", "--", "-XAtc", "SHOW cluster_name").out.endswith("/db1\n")
        cluster.ok("down", "--destroy", "--yes")


def test_up_works_where_there_is_no_terminal_no_home_and_no_path(pair: Cluster) -> None:
    """As cron or a service manager runs it."""
    program = [shutil.which(pair.argv[0]) or pair.argv[0], "-f", str(pair.file), "status"]
    environment = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
    done = subprocess.run(program, env=environment, cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- terminals and pipes


def on_terminal(
    cluster: Cluster, *arguments: str, columns: int = 80, typed: str = "", environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """Runs the program on a terminal of its own; its exit code and all that it showed there."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    options = cluster.options()
    names = ("NO_COLOR", "COLUMNS", "TERM", "FORCE_COLOR")
    options["env"] = {key: value for key, value in options["env"].items() if key not in names}
    options["env"] |= {"TERM": "xterm", **(environment or {})}
    process = subprocess.Popen(
        [*cluster.argv, *arguments], stdin=inner, stdout=inner, stderr=inner, start_new_session=True, **options
    )
    os.close(inner)
    shown = b""

    def read() -> None:
        nonlocal shown
        with contextlib.suppress(OSError):
            while chunk := os.read(outer, 65536):
                shown += chunk

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        os.write(outer, typed.encode())
        code = process.wait(120)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(5)
        os.close(outer)
    text = shown.decode()
    assert "Traceback" not in text
    return code, text


def test_piped_output_has_no_escape_codes() -> None:
    with Cluster() as cluster:
        texts = [cluster.run("plan").said, cluster.up().said, cluster.run("status").said]
        cluster.kill_server("db2")
        texts += [cluster.run("status").said, cluster.run("plan").said, cluster.run("apply").said]
        texts += [cluster.run("--help").said, cluster.ok("down", "--destroy", "--yes").said]
    for text in texts:
        assert "\x1b" not in text
        assert "\r" not in text


def test_a_terminal_gets_colours_unless_it_or_its_user_wants_none(pair: Cluster) -> None:
    assert "\x1b[" in on_terminal(pair, "status")[1]
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        for command in ("status", "plan"):
            code, text = on_terminal(pair, command, environment=environment)
            assert code == 0
            assert "\x1b" not in text, text


def test_nothing_is_wider_than_the_terminal(pair: Cluster) -> None:
    pair.topology["parameters"]["max_connections"] = 120
    pair.nodes["db1"]["parameters"] = {"work_mem": "5MB", "maintenance_work_mem": "70MB", "wal_writer_delay": "300ms"}
    pair.write()
    try:
        helps = (("--help",), ("up", "--help"), ("init", "--help"))
        for columns, words in ((80, helps), (80, (("status",), ("plan",))), (60, (("status",), ("plan",)))):
            for arguments in words:
                _, text = on_terminal(pair, *arguments, columns=columns, environment={"NO_COLOR": "1"})
                wide = [line for line in text.splitlines() if len(line.rstrip()) > columns]
                # What cannot be broken (a path, a URI) may stand out.
                assert not [line for line in wide if max(map(len, line.split())) < columns // 2], f"{columns}: {wide}"
    finally:
        del pair.nodes["db1"]["parameters"], pair.topology["parameters"]["max_connections"]
        pair.write()


def test_a_no_changes_nothing_and_a_yes_does_it(pair: Cluster) -> None:
    pair.topology["parameters"]["work_mem"] = "11MB"
    pair.write()
    for answer in ("n\n", "\n", "\x04"):
        code, text = on_terminal(pair, "apply", typed=answer)
        assert code == 2, text
        assert "Nothing was changed" in text
        assert pair.setting("db1", "work_mem") != "11MB"
    code, text = on_terminal(pair, "apply", typed="y\n")
    assert code == 0, text
    assert pair.setting("db2", "work_mem") == "11MB"
    pair.converged()


def test_a_reader_that_goes_away_is_no_error(pair: Cluster) -> None:
    """As with `pgtandem status | head -1`."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*pair.argv, "status"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, **pair.options()
    )
    os.close(write)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode in (0, 141)


@pytest.mark.parametrize("lines", [0, 1])
def test_a_change_goes_on_to_its_end_when_nobody_reads_any_more(lines: int) -> None:
    """As with `pgtandem up --yes | head -1`: it stopped half way."""
    with Cluster() as cluster:
        for command, exit_code in (("up", 0), ("apply", 0), ("down", 0)):
            process = subprocess.Popen(
                [*cluster.argv, command, "--yes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **cluster.options()
            )
            assert process.stdout is not None
            assert process.stderr is not None
            for _ in range(lines):
                assert process.stdout.readline()
            process.stdout.close()
            said = process.stderr.read().decode()
            assert (process.wait(120), said) == (exit_code, "")
            if command != "down":
                cluster.converged()
        assert cluster.processes() == {}


def test_a_change_that_fails_says_so_when_nobody_reads_its_output() -> None:
    with Cluster() as cluster:
        cluster.data("db2").mkdir(parents=True)
        (cluster.data("db2") / "thesis.txt").write_text("five years of work")
        cluster.own(cluster.data("db2"))
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [*cluster.argv, "up", "--yes"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60,
            **cluster.options(),
        )  # fmt: skip
        os.close(write)
        assert done.returncode == 12
        assert "[PT-3003]" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_change_goes_on_to_its_end_when_the_disk_under_its_output_is_full() -> None:
    with Cluster(standbys=0) as cluster, open("/dev/full", "w") as full:
        done = subprocess.run(
            [*cluster.argv, "up", "--yes"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120,
            **cluster.options(),
        )  # fmt: skip
        assert (done.returncode, "[PT-1009]" in done.stderr) == (10, True)
        cluster.converged()
