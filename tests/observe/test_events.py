"""What is told of two looks, one after the other."""

from dataclasses import replace

import pytest

from cli.values import DB1, DB2, DB3, NOT_BUILT, PAIR, SEGMENT, TRIO, behind, built, sender, slot, stopped
from pgtandem.model.facts import Unknown
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.server import Archiver, Setting, Slot
from pgtandem.model.topology import Topology
from pgtandem.observe.events import Chronicle

AWAY = ObservedNode(*(Unknown("it did not answer within 5 seconds"),) * 8)


def told(*looks: Observed, of: Topology = PAIR) -> list[tuple[bool, str]]:
    """What each look but the first one brought."""
    chronicle = Chronicle(of)
    for number, look in enumerate(looks):
        chronicle.add(replace(look, now=1000.0 + number))
    return [(event.grave, event.text) for event in chronicle.events]


def pair(first: ObservedNode, second: ObservedNode) -> Observed:
    return Observed({DB1: first, DB2: second})


def primary(name: str, **facts: object) -> ObservedNode:
    return built(name, 5432, primary=True, **facts)  # type: ignore[arg-type]


WELL = pair(primary("db1", sends=(sender("db2"),)), built("db2", 5433))


def test_the_first_look_and_one_like_it_tell_nothing() -> None:
    assert told(WELL, WELL) == []


def test_a_node_that_goes_and_comes_back_is_told() -> None:
    gone = pair(primary("db1"), stopped("db2"))
    assert told(WELL, gone, WELL) == [
        (True, "db2 is stopped, it was streaming"),
        (False, "db2 is back: streaming"),
    ]


def test_a_role_change_is_told_although_the_node_was_away_in_between() -> None:
    swapped = pair(built("db1", 5432, timeline=2), primary("db2", timeline=2, sends=(sender("db1"),)))
    texts = [text for _, text in told(WELL, pair(AWAY, AWAY), swapped)]
    assert "there is no primary" in texts
    assert "db1 was a primary and is a standby now" in texts
    assert "db2 was a standby and is a primary now" in texts
    assert "db2 is on timeline 2, it was on 1" in texts


def test_two_primaries_are_told_once() -> None:
    two = pair(primary("db1"), primary("db2"))
    texts = [text for grave, text in told(WELL, two, two) if grave]
    assert texts == ["there are 2 primaries: db1, db2"]


@pytest.mark.parametrize(
    ("now", "grave", "text"),
    [
        (Slot("s", "physical", False, None, None, "lost"), True, "slot s on db1 is lost"),
        (slot("s", active=False), True, "slot s on db1 is not in use any more, and keeps WAL"),
        (None, True, "slot s on db1 is gone"),
    ],
)
def test_what_becomes_of_a_slot_is_told(now: Slot | None, grave: bool, text: str) -> None:
    before = pair(primary("db1", sends=(sender("db2"),), slots={"s": slot("s")}), built("db2", 5433))
    after = pair(primary("db1", sends=(sender("db2"),), slots={"s": now} if now else {}), built("db2", 5433))
    ((is_grave, said),) = told(before, after)
    assert said.startswith(text)
    assert is_grave is grave


def test_slots_of_a_server_that_is_away_are_not_gone() -> None:
    before = pair(primary("db1", sends=(sender("db2"),), slots={"s": slot("s")}), built("db2", 5433))
    assert not [text for _, text in told(before, pair(AWAY, built("db2", 5433))) if "slot" in text]


def test_an_archive_that_fails_and_works_again_is_told() -> None:
    failing = Archiver(3, 1, SEGMENT, "000000010000000000000004", 60.0, 1.0, 2)
    broken = pair(primary("db1", sends=(sender("db2"),), archiver=failing), built("db2", 5433))
    assert told(WELL, broken, broken, WELL) == [
        (True, "db1 cannot archive 000000010000000000000004"),
        (False, "db1 archives again"),
    ]


def test_writes_that_begin_to_wait_and_go_on_are_told() -> None:
    names = {"synchronous_standby_names": Setting("ANY 1 (db2)")}
    good = pair(primary("db1", settings=names, sends=(sender("db2", "quorum"),)), built("db2", 5433))
    waits = pair(primary("db1", settings=names), built("db2", 5433))
    texts = [text for _, text in told(good, waits, good)]
    assert "writes wait: too few standbys can confirm a commit" in texts
    assert "writes go on" in texts


def test_a_node_that_is_built_is_told() -> None:
    trio = {DB1: primary("db1", sends=(behind("db2", 0, 0, 0, 0),)), DB2: built("db2", 5433), DB3: NOT_BUILT}
    after = {**trio, DB1: primary("db1", sends=(sender("db2"), sender("db3"))), DB3: built("db3", 5434)}
    assert told(Observed(trio), Observed(after), of=TRIO) == [(False, "db3 is back: streaming")]
