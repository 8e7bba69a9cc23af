"""What a fix tells to type depends on what there is: a topology file, or servers that were named one by one."""

from dataclasses import replace

from doctor.looks import changed, healthy_look
from pgtandem.doctor.diagnose import diagnose


def test_servers_without_a_topology_file_are_asked_by_psql_itself() -> None:
    look = changed(healthy_look("pair"), {"db2": {"server": {"replay_paused": True}}})
    resume = '-c "SELECT pg_wal_replay_resume()"'
    with_file, without = (
        {finding.rule.id: finding.seen.fix for finding in diagnose(kind)}
        for kind in (look, replace(look, sql_only=True))
    )
    assert with_file["STB10"] == f"pgtandem psql --node db2 {resume}"
    node = look.topology.node("db2")
    assert without["STB10"] == f"psql -h {node.address} -p {node.port} -d postgres {resume}"
