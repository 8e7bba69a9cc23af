"""pg_controldata's stand-in, which the tests of other majors rely on: against the real program, the control file's own
checksum, and what a server says of itself; and what pgtandem reads of it."""

import subprocess
from collections.abc import Iterator

import pytest

from pgtandem.postgres.controldata import parse_control_data
from support import control_file
from support.installations import PACKAGED_MAJORS, Installation, installations, packaged
from support.servers import RealServer

#: Different numbers, none of them a default.
SETTINGS = {
    "max_connections": 31,
    "max_worker_processes": 11,
    "max_wal_senders": 13,
    "max_prepared_transactions": 7,
    "max_locks_per_transaction": 67,
}


def _installation(found: Installation | int) -> Installation:
    try:
        return found if isinstance(found, Installation) else packaged(found)
    except LookupError as reason:
        pytest.skip(str(reason))


def _name(found: Installation | int) -> str:
    return found.name if isinstance(found, Installation) else f"packaged-{found}"


@pytest.fixture(scope="module", params=[*installations(), *PACKAGED_MAJORS], ids=_name)
def server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    with RealServer(_installation(request.param)) as server:
        yield server.initdb("--data-checksums", settings=SETTINGS).start()


def stand_in(server: RealServer) -> str:
    script = control_file.script(server.installation.major)
    done = subprocess.run(["sh", "-c", script, "pg_controldata", str(server.data)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_layout_of_the_version_ends_in_the_right_checksum(server: RealServer) -> None:
    end = control_file.fields(server.installation.major)["crc"].offset
    content = (server.data / "global" / "pg_control").read_bytes()
    assert control_file.crc32c(content[:end]) == int.from_bytes(content[end : end + 4], "little")


def test_what_is_read_is_what_the_server_says(server: RealServer) -> None:
    read = parse_control_data(stand_in(server))
    assert read.system_identifier == str(server.sql("SELECT system_identifier FROM pg_control_system()"))
    assert str(read.checkpoint_lsn) == server.sql("SELECT checkpoint_lsn::text FROM pg_control_checkpoint()")
    assert (read.state, read.timeline, read.checksums) == ("in production", 1, True)
    assert str(read.min_recovery_lsn) == "0/0"
    assert read.wal_segment_bytes == server.sql("SELECT bytes_per_wal_segment FROM pg_control_init()")
    expected = dict(SETTINGS)
    if server.installation.major < 12:
        del expected["max_wal_senders"]  # the control file has it from 12 on
    assert read.settings == {name: str(value) for name, value in expected.items()}


@pytest.mark.parametrize("server", installations(), ids=_name, indirect=True)
def test_it_prints_what_the_real_program_prints(server: RealServer) -> None:
    printed = server.run("pg_controldata", str(server.data)).splitlines()
    assert set(stand_in(server).splitlines()) <= set(printed)


def test_a_folder_without_a_control_file_is_an_error(server: RealServer) -> None:
    script = control_file.script(server.installation.major)
    done = subprocess.run(["sh", "-c", script, "pg_controldata", str(server.base)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pg_controldata: error: " in done.stderr
