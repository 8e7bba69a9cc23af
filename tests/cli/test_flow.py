"""Where a standby is slow, by what the stages of its sender say."""

from dataclasses import replace

import pytest

from cli import values
from pgtandem.model.lsn import Lsn
from pgtandem.model.server import Server
from pgtandem.observe.flow import slots, stages

MEGABYTE = 1024 * 1024


def upstream() -> Server:
    server = values.SLOW.nodes[values.DB1].running
    assert server is not None
    return server


@pytest.mark.parametrize(
    ("lags", "slow"),
    [
        ((0, 0, 0, 0), None),
        ((0, 0, 0, MEGABYTE - 1), None),
        ((0, 0, 0, MEGABYTE), "replay"),
        ((5, 6, 6, 6), "network"),
        ((0, 6, 6, 6), "network"),
        ((0, 1, 9, 9), "disk"),
        ((1, 1, 2, 9), "replay"),
    ],
)
def test_the_stage_that_holds_up_the_most_is_named(lags: tuple[int, ...], slow: str | None) -> None:
    scaled = [lag * MEGABYTE if lag < 100 else lag for lag in lags]
    found = stages(upstream(), values.behind("db2", *scaled))
    assert found is not None
    assert found.slow == slow
    assert found.replay_lag_bytes == scaled[3]


def test_a_stage_is_never_ahead_of_the_one_before() -> None:
    """The server reads them one after the other, while WAL moves on."""
    here = Lsn(0x25000060)
    sender = replace(values.behind("db2", 500, 400, 300, 300), sent_lsn=Lsn(here.position + 10))
    found = stages(upstream(), sender)
    assert found is not None
    assert (found.sent_lag_bytes, found.write_lag_bytes) == (0, 400)
    assert found.replay_lag_bytes == found.flush_lag_bytes == 400


def test_a_standby_that_has_not_answered_yet_has_no_stages() -> None:
    assert stages(upstream(), replace(values.sender("db2"), flush_lsn=None)) is None


def test_the_room_of_a_slot_is_what_the_cap_leaves() -> None:
    rooms = {slot.name: slot.room_bytes for slot in slots(values.SLOW)}
    assert rooms["forgotten"] == 10240 * MEGABYTE - 300_000_000
    uncapped = replace(
        upstream(), settings={"max_slot_wal_keep_size": replace(values.CAPPED["max_slot_wal_keep_size"], value="-1")}
    )
    node = replace(values.SLOW.nodes[values.DB1], server=values.Known(uncapped))
    assert all(slot.room_bytes is None for slot in slots(replace(values.SLOW, nodes={values.DB1: node})))
