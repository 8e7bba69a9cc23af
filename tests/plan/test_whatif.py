"""What it would mean if nodes went down, by looks at clusters that were never there."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pgtandem.model.facts import Known
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import STREAM_NAME, NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.plan.whatif import Becomes, Outcome, WalRate, Writes, wal_rate, what_if
from pgtandem.topology.load import load_topology

from .healthy import GIGABYTE, healthy, look
from .overlay import overlaid

MEGABYTE = 1024 * 1024
FOUR = """
[nodes.db1]
port = 5432
zone = "tokyo"
[nodes.db2]
port = 5433
zone = "osaka"
[nodes.db3]
port = 5434
zone = "tokyo"
[nodes.db4]
port = 5435
upstream = "db2"
"""
PAIR = "[nodes.db1]\nport = 5432\n[nodes.db2]\nport = 5433\n"
ANY_ONE = '[replication]\nsynchronous = "any 1"\n'


@dataclass(frozen=True)
class Look:
    """A healthy cluster, but for `states` (words of `healthy`) and `facts` (of `overlay`); who confirms is seen."""

    nodes: str = FOUR
    rest: str = ""
    states: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    major: int = 18

    @property
    def topology(self) -> Topology:
        head = f'[cluster]\nname = "shop"\npostgresql = {self.major}\n'
        return load_topology(f"{head}{self.nodes}{self.rest}", folder="/srv/shop")

    @property
    def observed(self) -> Observed:
        topology = self.topology
        nodes = healthy(topology, NodeName("db1"), self.states)
        seen = look(topology, topology, nodes)
        changed = {name: overlaid(node, self.facts.get(name, {})) for name, node in seen.nodes.items()}
        primary = changed[NodeName("db1")]
        if primary.running is not None:
            able = topology.confirming(NodeName("db1"))
            state = {"any": "quorum", "first": "sync"}.get(topology.replication.synchronous.method.value, "async")
            senders = tuple(
                replace(sender, sync_state=state if sender.application_name in able else "async")
                for sender in primary.running.senders
            )
            changed[NodeName("db1")] = replace(primary, server=Known(replace(primary.running, senders=senders)))
        return replace(seen, nodes=changed)

    def if_down(self, *names: str, rate: WalRate | None = None) -> Outcome:
        return what_if(self.topology, self.observed, tuple(map(NodeName, names)), rate)


def behind(size: int) -> dict[str, Any]:
    """A standby that has received this much less than the primary has written."""
    here = str(Lsn(Lsn.parse("0/25000060").position - size))
    return {"server": {"receive_lsn": here, "replay_lsn": here}}


@pytest.mark.parametrize(
    ("name", "seen", "down", "writes", "promoted"),
    [
        ("asynchronous, a standby", Look(), ["db3"], Writes.GO_ON, None),
        ("asynchronous, every standby", Look(), ["db2", "db3", "db4"], Writes.GO_ON, None),
        ("asynchronous, the primary", Look(), ["db1"], Writes.STOP, "db3"),
        ("synchronous, one of two", Look(rest=ANY_ONE), ["db2"], Writes.GO_ON, None),
        ("synchronous, both", Look(rest=ANY_ONE), ["db2", "db3"], Writes.WAIT, None),
        ("a cascading standby confirms nothing", Look(rest=ANY_ONE), ["db4"], Writes.GO_ON, None),
        (
            "synchronous, the other is away already",
            Look(rest=ANY_ONE, states={"db3": "stopped"}),
            ["db2"],
            Writes.WAIT,
            None,
        ),
        ("the only one that confirms", Look(nodes=PAIR, rest=ANY_ONE), ["db2"], Writes.WAIT, None),
        ("first 1 of two", Look(rest=ANY_ONE.replace("any", "first")), ["db2"], Writes.GO_ON, None),
        ("first 2 of two", Look(rest=ANY_ONE.replace("any 1", "first 2")), ["db2"], Writes.WAIT, None),
        ("everything", Look(), ["db1", "db2", "db3", "db4"], Writes.STOP, None),
        ("the primary, and it is the only one", Look(nodes="[nodes.db1]\n"), ["db1"], Writes.STOP, None),
        (
            "the one that received the most is promoted",
            Look(facts={"db3": behind(5), "db4": behind(9)}),
            ["db1"],
            Writes.STOP,
            "db2",
        ),
        ("a delayed one is never promoted", Look(nodes=PAIR + 'apply_delay = "1h"\n'), ["db1"], Writes.STOP, None),
        (
            "a paused one is not",
            Look(nodes=PAIR, facts={"db2": {"server": {"replay_paused": True}}}),
            ["db1"],
            Writes.STOP,
            None,
        ),
        (
            "a primary that does not run stops writes already",
            Look(states={"db1": "killed"}),
            ["db4"],
            Writes.STOP,
            "db3",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_writes_go_on_wait_or_stop(
    name: str, seen: Look, down: list[str], writes: Writes, promoted: str | None
) -> None:
    outcome = seen.if_down(*down)
    assert (outcome.writes, outcome.promoted) == (writes, promoted), outcome


def test_a_standby_whose_word_does_not_count_keeps_no_commit_from_waiting() -> None:
    delayed = PAIR + '[nodes.db3]\nport = 5434\napply_delay = "1h"\n'
    assert Look(nodes=delayed, rest=ANY_ONE).if_down("db2").writes is Writes.WAIT
    assert Look(nodes=delayed, rest=ANY_ONE).if_down("db3").writes is Writes.GO_ON


def test_settings_in_force_count_and_not_those_that_are_wished() -> None:
    settings = {"synchronous_standby_names": {"value": ""}}
    seen = Look(rest=ANY_ONE, facts={"db1": {"server": {"settings": settings}}})
    assert seen.if_down("db2", "db3").writes is Writes.GO_ON
    settings = {"synchronous_commit": {"value": "local"}}
    seen = Look(rest=ANY_ONE, facts={"db1": {"server": {"settings": settings}}})
    assert seen.if_down("db2", "db3").writes is Writes.GO_ON


@pytest.mark.parametrize(
    ("seen", "down", "acknowledged", "size"),
    [
        (Look(nodes=PAIR, facts={"db2": behind(4096)}), ["db1"], True, 4096),
        (Look(nodes=PAIR), ["db1"], True, 0),
        (Look(nodes=PAIR, rest=ANY_ONE, facts={"db2": behind(96)}), ["db1"], False, 96),
        (Look(rest=ANY_ONE), ["db1"], False, 0),
        (Look(nodes=PAIR, states={"db1": "killed"}), ["db1"], True, None),
    ],
)
def test_what_is_lost_is_told_in_bytes_unless_commits_waited_for_it(
    seen: Look, down: list[str], acknowledged: bool, size: int | None
) -> None:
    loss = seen.if_down(*down).loss
    assert loss is not None
    assert (loss.acknowledged, loss.size_bytes) == (acknowledged, size)
    assert loss.seconds == (0.0 if size == 0 else None)


def test_nobody_is_promoted_who_may_lack_an_acknowledged_commit() -> None:
    """Any 1 of two: the one that went down with the primary may alone have confirmed."""
    outcome = Look(rest=ANY_ONE).if_down("db1", "db2")
    assert outcome.promoted is None
    (objection,) = next(found for found in outcome.candidates if found.name == "db3").objections
    assert objection.rule == "acknowledged commits"


def test_without_the_wished_setting_in_force_nothing_is_proven() -> None:
    settings = {"synchronous_standby_names": {"value": 'ANY 1 ("db3")'}}
    loss = Look(rest=ANY_ONE, facts={"db1": {"server": {"settings": settings}}}).if_down("db1").loss
    assert loss is not None
    assert loss.acknowledged


def test_seconds_are_the_measured_lag() -> None:
    lag = {"application_name": "db2", "pid": 1, "state": "streaming", "sync_state": "async", "flush_lag_seconds": 2.5}
    seen = Look(nodes=PAIR, facts={"db1": {"server": {"senders": [lag]}}, "db2": behind(9)})
    loss = seen.if_down("db1").loss
    assert loss is not None
    assert loss.seconds == 2.5
    seen = Look(nodes=PAIR, facts={"db2": {"server": {**behind(9)["server"], "last_commit_age_seconds": 60.0}}})
    loss = seen.if_down("db1").loss
    assert loss is not None
    assert loss.seconds == 60.0


def test_commits_that_would_wait_on_the_new_primary_are_told() -> None:
    assert Look(nodes=PAIR, rest=ANY_ONE).if_down("db1").after.startswith("commits then wait on db2: each needs 1")
    assert Look(rest=ANY_ONE).if_down("db1").after == ""
    assert Look(nodes=PAIR).if_down("db1").after == ""


@pytest.mark.parametrize(
    ("seen", "down", "fates"),
    [
        (Look(), ["db2"], {"db1": Becomes.GOES_ON, "db2": Becomes.DOWN, "db3": Becomes.GOES_ON, "db4": Becomes.BEHIND}),
        (
            Look(),
            ["db1"],
            {"db1": Becomes.DOWN, "db2": Becomes.FOLLOWS, "db3": Becomes.PROMOTED, "db4": Becomes.GOES_ON},
        ),
        (
            Look(facts={"db3": behind(1)}),
            ["db1"],
            {"db1": Becomes.DOWN, "db2": Becomes.PROMOTED, "db3": Becomes.FOLLOWS, "db4": Becomes.GOES_ON},
        ),
        (
            Look(),
            ["db1", "db2"],
            {"db1": Becomes.DOWN, "db2": Becomes.DOWN, "db3": Becomes.PROMOTED, "db4": Becomes.BEHIND},
        ),
        (
            Look(
                nodes=PAIR.replace("5433", "5433\napply_delay = '1h'\n[nodes.db3]\nport = 5434"),
                facts={"db3": behind(7)},
            ),
            ["db1"],
            {"db1": Becomes.DOWN, "db2": Becomes.AHEAD, "db3": Becomes.PROMOTED},
        ),
    ],
)
def test_what_becomes_of_every_node(seen: Look, down: list[str], fates: dict[str, Becomes]) -> None:
    assert {fate.name: fate.becomes for fate in seen.if_down(*down).fates} == fates


@pytest.mark.parametrize(
    ("rest", "meanwhile"), [("", "it gets nothing"), ('[archive]\ndirectory = "a"\n', "the archive")]
)
def test_a_node_below_one_that_is_down_gets_what_the_archive_has(rest: str, meanwhile: str) -> None:
    fate = next(fate for fate in Look(rest=rest).if_down("db2").fates if fate.name == "db4")
    assert meanwhile in fate.why
    assert "until db2 is back" in fate.why


def test_the_old_primary_is_rewound_where_it_is_ahead() -> None:
    (old, *_) = Look(nodes=PAIR, facts={"db2": behind(512)}).if_down("db1").fates
    assert "512 bytes ahead of db2 now: rewound" in old.why


def test_slots_keep_wal_until_the_cap_or_the_disk() -> None:
    settings = {"max_slot_wal_keep_size": {"value": "1024"}}
    slots = {"pgtandem_db2": {"held_bytes": 24 * MEGABYTE}}
    seen = Look(nodes=PAIR, facts={"db1": {"server": {"settings": settings, "slots": slots}}})
    (kept,) = seen.if_down("db2", rate=WalRate(float(MEGABYTE), 1.0)).retention
    assert (kept.name, kept.upstream, kept.held_bytes, kept.cap_bytes) == ("db2", "db1", 24 * MEGABYTE, GIGABYTE)
    assert kept.cap_seconds == 1000.0
    assert kept.full_seconds == 100 * 1024.0


def test_the_archive_on_the_same_disk_takes_as_much_again() -> None:
    seen = Look(nodes=PAIR, rest='[archive]\ndirectory = "archive"\n')
    (kept,) = seen.if_down("db2", rate=WalRate(float(MEGABYTE), 1.0)).retention
    assert kept.full_seconds == 50 * 1024.0


def test_a_slot_without_a_cap_holds_wal_until_the_disk_is_full() -> None:
    (kept,) = Look(nodes=PAIR, major=12).if_down("db2", rate=WalRate(float(MEGABYTE), 1.0)).retention
    assert (kept.cap_bytes, kept.cap_seconds, kept.full_seconds) == (None, None, 100 * 1024.0)


def test_a_node_that_goes_down_itself_keeps_nothing() -> None:
    assert [kept.name for kept in Look().if_down("db2", "db4").retention] == ["db2"]


def test_after_a_promotion_the_new_primary_keeps_wal_for_the_old_one() -> None:
    (kept,) = Look(nodes=PAIR).if_down("db1").retention
    assert (kept.name, kept.upstream, kept.held_bytes, kept.cap_seconds) == ("db1", "db2", 0, None)


def test_nothing_is_kept_while_nothing_can_be_written() -> None:
    assert Look(nodes=PAIR).if_down("db1", "db2").retention == ()


def test_the_rate_is_what_was_written_between_two_looks() -> None:
    assert wal_rate(Lsn(100), Lsn(300), 2.0) == WalRate(100.0, 2.0)
    assert wal_rate(None, Lsn(300), 2.0) is None
    assert wal_rate(Lsn(100), Lsn(300), 0.0) is None
    (kept,) = Look(nodes=PAIR).if_down("db2", rate=WalRate(0.0, 1.0)).retention
    assert (kept.cap_seconds, kept.full_seconds) == (None, None)


def test_nodes_that_are_away_already_are_told() -> None:
    assert Look(states={"db3": "stopped"}).if_down("db2").already == ("db3",)


def test_what_the_archive_has_by_streaming_is_not_lost() -> None:
    """The candidate fetches it before it is promoted."""
    seen = Look(nodes=PAIR, rest='[archive]\ndirectory = "/srv/archive"\n', facts={"db2": behind(50 * MEGABYTE)})
    loss = seen.if_down("db1").loss
    assert loss is not None
    assert loss.size_bytes == 50 * MEGABYTE
    loss = replace(seen, rest=f"{seen.rest}stream = true\n").if_down("db1").loss
    assert loss is not None
    assert (loss.acknowledged, loss.size_bytes, loss.seconds) == (True, 0, 0.0)
    assert "neither db2 nor the archive's stream" in loss.why


CONFIRMS = f'{ANY_ONE}[archive]\ndirectory = "/srv/archive"\nstream = true\nsynchronous = true\n'


def with_the_archive(look: Look) -> Observed:
    """The archive's stream is one of those who are seen to confirm."""
    observed = look.observed
    primary = observed.nodes[NodeName("db1")]
    assert primary.running is not None
    senders = tuple(replace(sender, sync_state="quorum") for sender in primary.running.senders)
    changed = replace(primary, server=Known(replace(primary.running, senders=senders)))
    return replace(observed, nodes={**observed.nodes, NodeName("db1"): changed})


def test_an_archive_that_confirms_goes_down() -> None:
    pair = Look(PAIR, CONFIRMS)
    outcome = what_if(pair.topology, with_the_archive(pair), (NodeName(STREAM_NAME),))
    assert (outcome.writes, outcome.why) == (
        Writes.GO_ON,
        "each commit waits for 1 standby, and 1 can confirm: db2",
    )
    both = what_if(pair.topology, with_the_archive(pair), (NodeName("db2"), NodeName(STREAM_NAME)))
    assert both.writes is Writes.WAIT


def test_the_primary_goes_down_alone_or_with_an_archive_that_confirms() -> None:
    pair = Look(PAIR, CONFIRMS)
    alone = what_if(pair.topology, with_the_archive(pair), (NodeName("db1"),))
    assert alone.promoted == "db2"
    assert alone.loss is not None
    assert not alone.loss.acknowledged
    assert "with all that was streamed to the archive" in alone.loss.why
    together = what_if(pair.topology, with_the_archive(pair), (NodeName("db1"), NodeName(STREAM_NAME)))
    assert together.promoted is None
