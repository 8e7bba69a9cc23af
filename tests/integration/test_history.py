"""history after real commands: what was done, by whom, and what was refused."""

import getpass
import json
import re
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = pytest.mark.real


def history(cluster: Cluster) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(cluster.ok("history", "--json").out)["runs"]
    return runs


def test_what_was_done_and_what_was_refused() -> None:
    with Cluster() as cluster:
        assert "nothing was done yet" in cluster.ok("history").out
        cluster.environment = {"SUDO_USER": ""}
        cluster.up()
        first, *more = history(cluster)
        assert (first["command"], first["result"], first["who"]) == ("up", "done", getpass.getuser())
        assert {"db1.data", "db2.data", "db2.proof"} <= {step["id"] for step in first["steps"]}
        assert all(step["result"] == "done" and step["seconds"] >= 0 for step in first["steps"])
        assert all(run["result"] == "done" for run in more)
        begun = len(more) + 1

        cluster.topology["parameters"]["work_mem"] = "7MB"
        cluster.apply()
        (changed,) = history(cluster)[begun:]
        assert changed["command"] == "apply"
        assert "work_mem" in changed["steps"][0]["what"]

        # A data directory that is another node's now.
        (cluster.data("db2") / "pgtandem" / "node.json").write_text('{"cluster": "other", "node": "db2"}')
        cluster.topology["parameters"]["work_mem"] = "9MB"
        cluster.write()
        refusal = cluster.run("apply", "--yes").refused("PT-3003", 12)
        *_, refused = history(cluster)
        assert (refused["result"], refused["code"], refused["steps"]) == ("refused", "PT-3003", [])
        assert refused["what"].split(":")[0] in refusal
        assert refused["who"] == getpass.getuser()

        before = len(history(cluster))
        cluster.run("plan").refused("PT-3003", 12)
        assert len(history(cluster)) == before, "looking is no history"
        shown = cluster.ok("history", "--last", "1").out
        assert f"{before - 1} earlier" in shown
        assert "[PT-3003]" in shown
        assert "work_mem" not in shown


def test_a_promotion_that_somebody_made_by_hand_is_told_from_one_of_pgtandem() -> None:
    with Cluster() as cluster:
        cluster.up()
        cluster.ok("switchover", "--to", "db2", "--yes")
        document = json.loads(cluster.ok("history", "--json").out)
        assert [(each["node"], each["timeline"], each["command"]) for each in document["promotions"]] == [
            ("db2", 2, "switchover")
        ]
        assert document["unseen"] == []
        assert "not by pgtandem" not in cluster.ok("history").out

        cluster.stop_server("db2")
        cluster.pg_ctl("db1", "promote", "-w")
        document = json.loads(cluster.ok("history", "--json").out)
        by_hand = document["promotions"][-1]
        assert (by_hand["node"], by_hand["timeline"], by_hand["left_timeline"]) == ("db1", 3, 2)
        assert by_hand["command"] is None
        assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", by_hand["lsn"])
        shown = " ".join(cluster.ok("history").out.split())
        assert "db1 was promoted, not by pgtandem: timeline 3 begins at" in shown
        assert "promoted" not in cluster.ok("history", "--journal").out
