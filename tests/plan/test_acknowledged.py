"""Whoever is promoted has every acknowledged commit, whoever of the standbys and the archive had confirmed it."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pgtandem.model.facts import ABSENT, Known, Unknown
from pgtandem.model.names import STREAM_NAME, NodeName
from pgtandem.plan.acknowledged import quorum
from pgtandem.topology.load import load_topology

from .case import FOLDER
from .healthy import healthy, look

DB1 = NodeName("db1")
NODES = "".join(f"[nodes.db{number}]\nport = {5431 + number}\n" for number in range(1, 5))
HEAD = f'[cluster]\nname = "shop"\npostgresql = 18\n{NODES}[archive]\ndirectory = "/srv/archive"\nstream = true\n'


@given(st.data())
def test_who_is_promoted_has_every_acknowledged_commit(data: st.DataObject) -> None:
    count, method = data.draw(st.integers(1, 4)), data.draw(st.sampled_from(["any", "first"]))
    text = f'{HEAD}synchronous = true\n[replication]\nsynchronous = "{method} {count}"\n'
    topology = load_topology(text, folder=FOLDER)
    observed = look(topology, topology, healthy(topology, DB1, {}))
    answers = data.draw(st.booleans(), "the archive's host answers")
    if not answers:
        observed = replace(observed, stream=Unknown("Connection timed out."))
    could = topology.confirmers(DB1)
    # How far each of them has WAL; a commit at 1 to 10 was acknowledged where so many had it.
    has = {name: data.draw(st.integers(0, 10), name) for name in could}
    acknowledged = sorted(has.values(), reverse=True)[count - 1]
    seen = {NodeName(name) for name in could if name != STREAM_NAME and data.draw(st.booleans(), f"{name} is seen")}
    found = quorum(topology, observed, DB1, seen)
    assert found is not None
    if not found.holds or not seen:
        return
    promoted = max(has[name] for name in seen)
    if found.needs_stream:
        # It is promoted once it is seen to have all that was streamed, too.
        assert answers
        promoted = max(promoted, has[STREAM_NAME])
    assert promoted >= acknowledged


def test_a_stream_that_a_file_in_place_still_names_counts() -> None:
    before = load_topology(f'{HEAD}synchronous = true\n[replication]\nsynchronous = "any 1"\n', folder=FOLDER)
    after = load_topology(f'{HEAD}[replication]\nsynchronous = "any 1"\n', folder=FOLDER)
    observed = look(after, before, healthy(before, DB1, {}))
    found = quorum(after, replace(observed, stream=ABSENT), DB1, {NodeName("db2"), NodeName("db3"), NodeName("db4")})
    assert found is not None
    assert not found.holds
    assert isinstance(observed.stream, Known)
    found = quorum(after, observed, DB1, {NodeName("db2"), NodeName("db3"), NodeName("db4")})
    assert found is not None
    assert found.holds
    assert found.needs_stream
