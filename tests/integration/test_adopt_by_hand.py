"""A pair that somebody built by the old recipe, taken over while a client writes: findings first, none at the end."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.by_hand import PASSWORD, ROLE, ByHand
from support.hosts import Hosts, why_no_hosts
from support.installations import packaged
from support.remote import BIN

_reason = why_no_hosts() or (None if Path(BIN).is_dir() else f"there is no {BIN}")
pytestmark = pytest.mark.skipif(_reason is not None, reason=_reason or "")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


def doctor(cluster: ByHand) -> dict[str, Any]:
    done = cluster.run("doctor", "--json")
    assert done.exit_code in (0, 2), done.said
    document: dict[str, Any] = json.loads(done.out)
    return document


def findings(document: dict[str, Any]) -> set[str]:
    return {finding["id"] for finding in document["findings"]}


def urls(cluster: ByHand) -> list[str]:
    return [word for name in ("h1", "h2") for word in ("--host", f"ssh://postgres@{cluster.hosts.address(name)}")]


def taken_over(cluster: ByHand, stays: frozenset[str] = frozenset()) -> None:
    """The whole way, and what must hold on it. `stays` are findings that no setting takes away."""
    cluster.build()
    with cluster.writer() as writer:
        said = cluster.ok("adopt", "--name", "shop", *urls(cluster)).out
        assert "nothing was changed on any host" in said
        topology = cluster.topology()
        assert list(topology["nodes"]) == ["h1", "h2"]
        assert topology["archive"]["directory"] == cluster.archive_folder
        assert topology["parameters"]["work_mem"] == "8MB"
        assert topology["adopt"]["replaces_roles"] == [ROLE]

        before = doctor(cluster)
        assert findings(before) >= {"ARC01", "ARC02", "REP01", "REP03", "REP28", "RST04", "STB04", "SYN03"}, before
        assert {note["id"] for note in before["notes"]} >= {"ARC12", "REP24", "RST10"}
        assert PASSWORD not in json.dumps(before)
        assert [node["state"] for node in cluster.status()["nodes"]] == ["running", "streaming"]

        plan = cluster.run("plan")
        assert plan.exit_code == 2, plan.said
        for word in ("take over", "archive_command: an archive command must", "pgtandem_replication", "restart h1"):
            assert word in " ".join(plan.out.split()), plan.out
        assert cluster.sql("h1", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgtandem%'") == "0"

        cluster.ok("apply", "--yes", seconds=300)
        assert "nothing to do" in cluster.ok("plan").out
        writer.goes_on()
        after = doctor(cluster)
        assert findings(after) == stays, json.dumps(after["findings"], indent=1)
        assert after["unseen"] == []
    assert writer.missing("h1") == set()
    assert cluster.sql("h1", f"SELECT rolcanlogin OR rolreplication FROM pg_roles WHERE rolname = '{ROLE}'") == "f"
    kept = cluster.on("h1", "cat", f"{cluster.data}/pgtandem/before-adoption/postgresql.conf")
    assert "cp -i %p" in kept
    assert "work_mem = 8MB" in cluster.on("h1", "cat", f"{cluster.data}/postgresql.conf")

    cluster.ok("switchover", "--to", "h2", "--yes")
    assert cluster.sql("h2", "SELECT pg_is_in_recovery()") == "f"
    assert writer.missing("h2") == set()
    cluster.sql("h2", "INSERT INTO written VALUES (-1)")
    cluster.streams_again("h2", "h1")
    assert "nothing to do" in cluster.ok("plan").out
    refused = cluster.run("down", "--destroy", "--yes").refused("PT-3003", 12)
    assert "taken over, not made by pgtandem" in refused


def test_a_pair_of_todays_recipe_is_taken_over_while_a_client_writes(hosts: Hosts) -> None:
    with ByHand(hosts) as cluster:
        cluster.know_hosts()
        taken_over(cluster)


@pytest.mark.chaos
def test_a_pair_of_the_old_recipe_with_recovery_conf_is_taken_over_while_a_client_writes(hosts: Hosts) -> None:
    try:
        old = packaged(11)
    except LookupError as reason:
        pytest.skip(str(reason))
    with ByHand(hosts, str(old.programs), str(old.programs), old.major) as cluster:
        cluster.know_hosts()
        taken_over(cluster, frozenset({"HST15"}))  # the version itself
        kept = f"{cluster.data}/pgtandem/before-adoption/recovery.conf"
        assert "application_name=slave-1" in cluster.on("h2", "cat", kept)
