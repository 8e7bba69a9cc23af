"""A restored server whose tablespaces or WAL are outside its data directory: whose place it may take."""

from dataclasses import replace
from typing import Any

import pytest

from pgtandem.model.names import NodeName
from pgtandem.model.plan import NodeFiles
from pgtandem.model.restore import RestoreOrder
from pgtandem.model.topology import LOCAL
from pgtandem.plan.recovery import render_order, same_restore

from .test_intervals import ONE, at, full, lsn

ORDER = RestoreOrder(
    target=at(5),
    timeline=ONE,
    chain=full(2).kept,
    expected_end=lsn(6),
    directory="/data/restored",
    host=LOCAL,
    address="127.0.0.1",
    port=5434,
    like=NodeName("db1"),
    files=NodeFiles((), "", standby=False, passfile_nodes=()),
    restore_command="",
)
IN_PLACE = replace(ORDER, replaces=True)


def test_what_stands_beside_may_take_a_nodes_place_later() -> None:
    assert same_restore(render_order(ORDER), IN_PLACE)
    assert same_restore(render_order(IN_PLACE), IN_PLACE)


@pytest.mark.parametrize("outside", [{"spaces": (("16385", "/fast/restored"),)}, {"wal": "/wal/restored"}])
def test_not_where_it_has_something_elsewhere(outside: dict[str, Any]) -> None:
    """Seen: the node's own tablespace became a part of the restored data, whose own was left where it was."""
    wanted = replace(IN_PLACE, **outside)
    assert not same_restore(render_order(ORDER), wanted)
    assert same_restore(render_order(wanted), wanted)
