import pytest

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import REPLICATION_ROLE, Secret
from pgtandem.postgres import queries, scram
from pgtandem.postgres.server_document import parse_server

MEGABYTE = 1 << 20
MAJORS = range(10, 19)


@pytest.mark.parametrize(
    ("end", "segment_bytes", "name"),
    [
        ("0/3000060", 16 * MEGABYTE, "000000020000000000000003"),
        # The record before the switch filled the segment, or the switch record did: reported on the boundary, or
        # behind the next segment's long header.
        ("0/4000000", 16 * MEGABYTE, "000000020000000000000003"),
        ("0/4000028", 16 * MEGABYTE, "000000020000000000000003"),
        # The switch record began in the one segment and ended in the next, which it then finished too.
        ("0/4000030", 16 * MEGABYTE, "000000020000000000000004"),
        ("7/FF000100", 16 * MEGABYTE, "0000000200000007000000FF"),
        ("8/0", 16 * MEGABYTE, "0000000200000007000000FF"),
        ("8/100", MEGABYTE, "000000020000000800000000"),
        ("8/0", MEGABYTE, "000000020000000700000FFF"),
        ("8/0", 1024 * MEGABYTE, "000000020000000700000003"),
    ],
)
def test_finished_segment_is_named_also_at_a_boundary(end: str, segment_bytes: int, name: str) -> None:
    assert queries.finished_segment(Lsn.parse(end), Timeline(2), segment_bytes) == name


@pytest.mark.parametrize("major", MAJORS)
def test_no_query_asks_for_what_a_version_does_not_have(major: int) -> None:
    asked = queries.observe(major)
    assert ("wal_status," in asked) == (major >= 13)
    assert ("sender_host," in asked) == (major >= 11)
    quiet = queries.keep_statements_out_of_the_log(major)
    assert ("log_transaction_sample_rate" in quiet) == (major >= 12)
    assert ("log_min_duration_sample" in quiet) == (major >= 13)


def test_too_old_a_server_is_refused() -> None:
    with pytest.raises(ValueError, match="older"):
        queries.observe(9)


def document(**changes: object) -> dict[str, object]:
    empty: dict[str, object] = {
        "version_number": 180004,
        "system_identifier": "7711296262671568119",
        "in_recovery": False,
        "primary_timeline": "0000000B",
        "standby_timeline": None,
        "current_lsn": "0/3000060",
        "receive_lsn": None,
        "replay_lsn": None,
        "replay_age_seconds": None,
        "replay_paused": False,
        "delaying": None,
        "recovery_unread": None,
        "replay_hold": None,
        "redo": {"lsn": "0/3000028", "age_seconds": 12.5},
        "oldest_wal": {"name": "0000000000000003", "segment_bytes": 16 * 1024 * 1024},
        "size_bytes": 1,
        "libc_locales": ["en_US.utf8"],
        "hba": None,
        "roles": None,
        "slots": None,
        "senders": None,
        "receiver": None,
        "receiver_pid": None,
        "archiver": None,
    }
    return {**empty, **changes}


def role(password: str | None, **changes: object) -> dict[str, object]:
    known: dict[str, object] = {
        "name": REPLICATION_ROLE,
        "superuser": False,
        "replication": True,
        "login": True,
        "connection_limit": -1,
        "password": password,
        "expired": False,
    }
    return {**known, **changes}


def test_server_without_anything_is_read() -> None:
    server = parse_server([], document(), {}, None)
    assert (server.timeline, server.major, server.hba, server.slots) == (11, 18, (), {})


def test_system_identifier_is_unsigned() -> None:
    # From 2038 on initdb's identifiers have the highest bit.
    server = parse_server([], document(system_identifier="-9223372036854775807"), {}, None)
    assert server.system_identifier == "9223372036854775809"


@pytest.mark.parametrize(
    ("stored", "kind", "same"),
    [
        (scram.verifier("right", b"salt", 2), "scram-sha-256", True),
        (scram.verifier("wrong", b"salt", 2), "scram-sha-256", False),
        ("md5" + "0" * 32, "md5", False),
        (None, "none", False),
        ("left by 9.6", "plain", False),
    ],
)
def test_stored_password_is_compared(stored: str | None, kind: str, same: bool) -> None:
    server = parse_server([], document(roles=[role(stored)]), {REPLICATION_ROLE: Secret("right")}, None)
    found = server.roles[REPLICATION_ROLE]
    assert (found.password_kind, found.password_matches) == (kind, same)


def test_expired_password_does_not_match() -> None:
    stored = scram.verifier("right", b"salt", 2)
    server = parse_server([], document(roles=[role(stored, expired=True)]), {REPLICATION_ROLE: Secret("right")}, None)
    assert server.roles[REPLICATION_ROLE].password_matches is False


def test_password_that_is_not_known_here_is_not_compared() -> None:
    stored = scram.verifier("right", b"salt", 2)
    server = parse_server([], document(roles=[role(stored), role(stored, name="postgres")]), {}, None)
    assert [found.password_matches for found in server.roles.values()] == [None, None]


def test_hba_addresses_are_read_as_a_file_has_them() -> None:
    rows = [
        ("10.0.0.1", "255.255.255.255"),
        ("10.0.0.0", "255.255.254.0"),
        ("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("all", None),
        (None, None),
    ]
    rules = [
        {"line": 1, "kind": "host", "databases": ["all"], "users": ["all"], "address": address, "netmask": mask,
         "method": "trust", "error": None}
        for address, mask in rows
    ]  # fmt: skip
    server = parse_server([], document(hba=rules), {}, None)
    assert [rule.address for rule in server.hba] == ["10.0.0.1/32", "10.0.0.0/23", "::1/128", "all", None]
