"""The tables [cluster], [replication] and [archive]: every refusal."""

import pytest

from pgtandem.model.names import NodeName
from pgtandem.model.topology import Binaries, Durability, ForeignArchive, Method, Synchronous
from pgtandem.topology.render import render_topology

from .files import CLUSTER, FOLDER, PAIR, TWO_NODES, error_of, load, only_problem, places_of, problems_of


def cluster(lines: str) -> str:
    return f"[cluster]\n{lines}\n{TWO_NODES}"


def replication(lines: str) -> str:
    return f"{PAIR}\n[replication]\n{lines}\n"


@pytest.mark.parametrize("name", ["9lives", "a b", "ö", "a" * 41, "-x"])
def test_name_of_the_cluster_that_is_none_is_refused(name: str) -> None:
    problem = only_problem(cluster(f'name = "{name}"\npostgresql = 18'))
    assert problem.where == "cluster.name"
    assert problem.what == f'"{name}" is not a name of a cluster'
    assert "begins with a letter" in problem.why


def test_longest_name_of_a_cluster_is_taken() -> None:
    name = "A-_." + "z" * 36
    assert load(cluster(f'name = "{name}"\npostgresql = 18')).cluster == name


def test_empty_text_is_refused() -> None:
    assert only_problem(cluster('name = " "\npostgresql = 18')).what == "the text is empty"


def test_missing_name_and_version_are_both_reported() -> None:
    assert places_of("[cluster]\n" + TWO_NODES) == ["cluster.name", "cluster.postgresql"]


def test_version_that_is_too_old_is_refused_by_name() -> None:
    problem = only_problem(cluster('name = "shop"\npostgresql = 9'))
    assert problem.where == "cluster.postgresql"
    assert problem.what == "PostgreSQL 9 is older than 10, the oldest that pgtandem knows"


def test_version_that_is_too_new_is_refused_by_name() -> None:
    problem = only_problem(cluster('name = "shop"\npostgresql = 19'))
    assert problem.what == "PostgreSQL 19 is newer than 18, the newest that pgtandem was tested with"
    assert "allow_untested_postgresql = true" in problem.next_step


def test_a_newer_version_is_taken_where_the_file_allows_it_by_the_settings_of_the_newest_known() -> None:
    allowed = 'name = "shop"\npostgresql = 19\nallow_untested_postgresql = true'
    loaded = load(cluster(allowed) + "[parameters]\nio_workers = 4\n")
    assert (loaded.postgresql, loaded.parameters["io_workers"]) == (19, "4")
    assert load(render_topology(loaded, folder=FOLDER)) == loaded
    problem = only_problem(cluster(allowed) + "[parameters]\nwal_keep_segments = 4\n")
    assert problem.what == 'PostgreSQL 18 has no setting "wal_keep_segments"'
    assert problem.why.startswith("PostgreSQL 19 is newer than 18")


@pytest.mark.parametrize("value", ["false", '"true"', "1"])
def test_nothing_but_true_allows_a_newer_version(value: str) -> None:
    error = error_of(cluster(f'name = "shop"\npostgresql = 19\nallow_untested_postgresql = {value}'))
    assert "cluster.postgresql" in [problem.where for problem in error.problems]


def test_what_allows_a_newer_version_does_not_allow_an_older_one() -> None:
    problem = only_problem(cluster('name = "shop"\npostgresql = 9\nallow_untested_postgresql = true'))
    assert problem.what == "PostgreSQL 9 is older than 10, the oldest that pgtandem knows"


def test_a_version_with_two_parts_before_10_is_refused_with_the_range() -> None:
    problem = only_problem(cluster('name = "shop"\npostgresql = 9.6'))
    assert problem.what == "9.6 is not a whole number"
    assert problem.why == "The major version of PostgreSQL: 10 to 18."


@pytest.mark.parametrize(
    ("value", "found", "next_step"),
    [
        ('"18"', '"18"', "postgresql = 18"),
        ("18.4", "18.4", "for example postgresql = 18"),
        ("true", "true", "for example postgresql = 18"),
        ("[18]", "an array", "for example postgresql = 18"),
        ("1979-05-27", "a date or time", "for example postgresql = 18"),
    ],
)
def test_version_of_a_wrong_type_is_refused(value: str, found: str, next_step: str) -> None:
    problem = only_problem(cluster(f'name = "shop"\npostgresql = {value}'))
    assert problem.what == f"{found} is not a whole number"
    assert problem.next_step == next_step


def test_programs_are_looked_for_where_the_file_says() -> None:
    assert load(cluster('name = "s"\npostgresql = 15\nbinaries = "system"')).binaries is Binaries.SYSTEM
    assert load(cluster('name = "s"\npostgresql = 16\nbinaries = "embedded"')).binaries is Binaries.EMBEDDED


def test_embedded_postgresql_of_another_version_is_refused() -> None:
    problem = only_problem(cluster('name = "s"\npostgresql = 17\nbinaries = "embedded"'))
    assert (problem.where, problem.what) == ("cluster.binaries", "there is no embedded PostgreSQL 17")
    assert problem.why == "It exists for 16 and 18 only."


@pytest.mark.parametrize(("text", "next_step"), [("embeded", 'did you mean "embedded"?'), ("./bin", "")])
def test_programs_in_no_known_place_are_refused(text: str, next_step: str) -> None:
    problem = only_problem(cluster(f'name = "s"\npostgresql = 18\nbinaries = "{text}"'))
    assert problem.where == "cluster.binaries"
    assert "is not auto, embedded, system or the absolute path of a folder" in problem.what
    assert problem.next_step == next_step


def test_unknown_keys_and_tables_are_refused_with_what_was_meant() -> None:
    problem = only_problem(PAIR + "[parametres]\n")
    assert (problem.where, problem.what) == ("parametres", 'unknown table "parametres"')
    assert problem.next_step == 'did you mean "parameters"?'
    problem = only_problem(CLUSTER + 'durability = "on"\n' + TWO_NODES)
    assert problem.what == 'unknown key "durability"'
    assert problem.next_step == "write it under [replication]"
    problem = only_problem(CLUSTER + "shared_buffers = 1\n" + TWO_NODES)
    assert problem.next_step == "it is a PostgreSQL setting: write it under [parameters]"
    problem = only_problem(CLUSTER + '"x y" = 1\n' + TWO_NODES)
    assert (problem.where, problem.why) == (
        'cluster."x y"',
        "Known here are name, postgresql, allow_untested_postgresql and binaries.",
    )


def test_durability_that_does_not_exist_is_refused() -> None:
    problem = only_problem(replication('durability = "remote_aply"'))
    assert problem.where == "replication.durability"
    assert '"remote_aply" is not one of off, local, remote_write, on or remote_apply' in problem.what
    assert problem.next_step == 'did you mean "remote_apply"?'


@pytest.mark.parametrize("text", ["some", "any", "any one", "2", "ANY 1", "first -1", "any 1 (db2)"])
def test_synchronous_that_does_not_exist_is_refused(text: str) -> None:
    problem = only_problem(replication(f'synchronous = "{text}"'))
    assert problem.where == "replication.synchronous"
    assert problem.what == f'"{text}" is not "none", "first N" or "any N"'


def test_nobody_is_not_a_number_of_standbys_that_confirm() -> None:
    problem = only_problem(replication('synchronous = "first 0"'))
    assert (problem.what, problem.next_step) == (
        '"first 0" asks for no standby at all',
        'synchronous = "none"',
    )


def test_degrade_is_refused_until_there_is_a_failover_agent() -> None:
    problem = only_problem(replication('when_standbys_are_lost = "degrade"'))
    assert problem.where == "replication.when_standbys_are_lost"
    assert "needs the failover agent, which is to come" in problem.what


@pytest.mark.parametrize(
    "rate", ["50", "MB", "50mb", "31kB", "1025MB", "2GB", "0MB", "-1MB", "1.5MB", "50MB/s", "fast"]
)
def test_copy_rate_that_pg_basebackup_would_not_take_is_refused(rate: str) -> None:
    problem = only_problem(replication(f'max_copy_rate = "{rate}"'))
    assert (problem.where, problem.what) == ("replication.max_copy_rate", f'"{rate}" is not a rate')
    assert "32kB to 1GB" in problem.why


@pytest.mark.parametrize(("rate", "wanted"), [("32kB", 32768), ("1GB", 1024**3), ("50 MB", 50 * 1024**2)])
def test_copy_rate_is_in_the_units_of_postgresql(rate: str, wanted: int) -> None:
    topology = load(replication(f'max_copy_rate = "{rate}"'))
    assert topology.replication.copy_bytes_per_second == wanted


@pytest.mark.parametrize("level", ["off", "local"])
def test_naming_a_synchronous_standby_and_not_waiting_for_it_is_refused(level: str) -> None:
    problem = only_problem(replication(f'durability = "{level}"\nsynchronous = "first 1"'))
    assert problem.where == "replication.durability"
    assert problem.what == f'durability "{level}" never waits for a standby, yet synchronous is "first 1"'
    assert "no commit would wait for it" in problem.why


@pytest.mark.parametrize("level", ["remote_write", "remote_apply"])
def test_waiting_for_standbys_when_nobody_has_to_confirm_is_refused(level: str) -> None:
    problem = only_problem(replication(f'durability = "{level}"'))
    assert problem.where == "replication.durability"
    assert 'all mean the same as "on": a commit waits for the primary\'s own disk alone' in problem.why


@pytest.mark.parametrize("level", ["off", "local", "on"])
def test_asynchronous_replication_with_a_local_durability_is_taken(level: str) -> None:
    assert load(replication(f'durability = "{level}"')).replication.durability is Durability(level)


@pytest.mark.parametrize("level", ["remote_write", "on", "remote_apply"])
def test_synchronous_replication_with_a_remote_durability_is_taken(level: str) -> None:
    topology = load(replication(f'durability = "{level}"\nsynchronous = "first 1"'))
    assert topology.replication.synchronous == Synchronous(Method.FIRST, 1)


def test_more_confirmations_than_standbys_are_refused() -> None:
    problem = only_problem(replication('synchronous = "any 2"'))
    assert problem.where == "replication.synchronous"
    assert problem.what == '"any 2" needs 2, but only 1 standby follows the primary directly'
    assert (problem.why, problem.next_step) == (
        "Every commit would wait without end.",
        'synchronous = "any 1"',
    )


def test_cascading_standbys_do_not_count_as_confirming() -> None:
    problem = only_problem(PAIR + '[nodes.db3]\nport = 5434\nupstream = "db2"\n[replication]\nsynchronous = "any 2"\n')
    assert problem.where == "replication.synchronous"
    assert "a cascading standby cannot confirm" in problem.why


def test_synchronous_replication_of_a_single_node_is_refused() -> None:
    problem = only_problem(CLUSTER + '[nodes.db1]\n[replication]\nsynchronous = "any 1"\n')
    assert problem.what == '"any 1" needs 1, but no standby follows the primary directly'
    assert problem.next_step == 'synchronous = "none"'


def test_archive_without_directory_is_refused() -> None:
    problem = only_problem(PAIR + "[archive]\n")
    assert (problem.where, problem.what) == ("archive.directory", 'the key "directory" is missing')


def test_archive_on_a_host_of_its_own() -> None:
    topology = load(PAIR + '[archive]\ndirectory = "/srv/wal"\nhost = "ssh://archive@10.0.0.9"\n')
    assert [host.url for host in topology.archive_hosts] == ["ssh://archive@10.0.0.9"]


def test_archive_without_a_host_is_on_each_of_several_hosts() -> None:
    text = PAIR.replace("port = 5432", 'port = 5432\nhost = "ssh://h1"').replace("port = 5433", 'host = "ssh://h2"')
    topology = load(text + '[archive]\ndirectory = "/srv/wal"\n')
    assert topology.archive is not None
    assert topology.archive.host is None
    assert [host.url for host in topology.archive_hosts] == ["ssh://h1", "ssh://h2"]
    relative = problems_of(text + '[archive]\ndirectory = "wal"\n')
    assert '"wal" is not an absolute path' in [problem.what for problem in relative]


def test_a_stream_to_the_archive_is_off_unless_asked_for() -> None:
    text = PAIR + '[archive]\ndirectory = "/srv/wal"\n'
    assert not load(text).streams_to_archive
    assert load(text + "stream = true\n").streams_to_archive
    assert load(text + 'host = "ssh://archive@10.0.0.9"\nstream = true\n').streams_to_archive


def test_a_stream_needs_one_place_for_the_archive() -> None:
    nodes = '[nodes.db1]\nhost = "ssh://10.0.0.1"\n[nodes.db2]\nhost = "ssh://10.0.0.2"\n'
    problem = only_problem(CLUSTER + nodes + '[archive]\ndirectory = "/srv/wal"\nstream = true\n')
    assert problem.where == "archive.stream"
    assert problem.what == "the stream needs one place for the archive, and each node archives on its own host"


def test_a_stream_is_refused_beside_the_commands_of_another_tool() -> None:
    commands = "command = 'wal-g wal-push %p'\nrestore = 'wal-g wal-fetch %f %p'\n"
    problem = only_problem(PAIR + f"[archive]\n{commands}stream = true\n")
    assert problem.where == "archive.stream"
    assert "gives it to another tool" in problem.what


@pytest.mark.parametrize("text", ["archive", "first 1 (archive)", "pgtandem_archive", "any 1 with the stream"])
def test_the_stream_is_not_named_among_those_who_must_confirm(text: str) -> None:
    problem = only_problem(PAIR + f'[replication]\nsynchronous = "{text}"\n')
    assert problem.where == "replication.synchronous"
    assert problem.next_step == 'synchronous = "any 1", and synchronous = true under [archive]'


STREAMED = '[archive]\ndirectory = "/srv/wal"\nstream = true\nsynchronous = true\n'


def test_the_stream_counts_among_those_who_can_confirm() -> None:
    topology = load(PAIR + '[replication]\nsynchronous = "any 2"\n' + STREAMED)
    assert topology.confirmers(NodeName("db1")) == ("db2", "pgtandem_archive")
    assert topology.confirming(NodeName("db1")) == ("db2",)
    problem = only_problem(PAIR + '[replication]\nsynchronous = "any 3"\n' + STREAMED)
    assert problem.what == '"any 3" needs 3, but only 1 standby follows the primary directly, beside the archive'
    assert problem.next_step == 'synchronous = "any 2"'


def test_the_stream_alone_can_confirm_for_a_primary_without_standbys() -> None:
    topology = load(CLUSTER + '[nodes.db1]\n[replication]\nsynchronous = "any 1"\n' + STREAMED)
    assert topology.confirmers(NodeName("db1")) == ("pgtandem_archive",)


def test_the_stream_confirms_nothing_where_no_commit_waits() -> None:
    assert load(PAIR + STREAMED).confirmers(NodeName("db1")) == ("db2",)


def test_the_archive_cannot_confirm_what_is_not_streamed_to_it() -> None:
    problem = only_problem(PAIR + STREAMED.replace("stream = true\n", ""))
    assert problem.where == "archive.synchronous"
    assert problem.what == "the archive can only confirm commits that are streamed to it"


def test_the_archive_cannot_confirm_what_has_to_be_replayed() -> None:
    problem = only_problem(PAIR + '[replication]\nsynchronous = "any 1"\ndurability = "remote_apply"\n' + STREAMED)
    assert problem.where == "archive.synchronous"
    assert problem.what == 'the archive cannot confirm commits with durability "remote_apply"'


def test_a_node_whose_slot_would_be_that_of_the_stream_is_refused() -> None:
    text = CLUSTER + '[nodes.db1]\n[nodes.archive]\nport = 5433\n[archive]\ndirectory = "/srv/wal"\nstream = true\n'
    problem = only_problem(text)
    assert problem.where == "archive.stream"
    assert problem.what == 'node "archive" would have the slot of the stream, pgtandem_archive'


def test_archive_over_ssh_needs_an_absolute_path() -> None:
    text = PAIR + '[archive]\ndirectory = "archive"\nhost = "ssh://archive@10.0.0.9"\n'
    assert '"archive" is not an absolute path' in [problem.what for problem in problems_of(text)]


def test_archive_without_a_host_is_on_the_host_of_the_nodes() -> None:
    on = 'host = "ssh://h"\n'
    text = PAIR.replace("port = 5433", 'port = 5433\ndata_directory = "/srv/two"\n' + on)
    text = text.replace("port = 5432", "port = 5432\n" + on)
    archive = load(text + '[archive]\ndirectory = "/srv/wal"\n').archive
    assert archive is not None
    assert archive.host.url == "ssh://h"


ARCHIVE = '[archive]\ndirectory = "/srv/wal"\n'
FOREIGN = '[archive]\ncommand = "wal-g wal-push %p"\nrestore = "wal-g wal-fetch %f %p"\n'


def test_wal_is_compressed_with_a_program_and_a_level() -> None:
    archive = load(PAIR + ARCHIVE + 'compression = "zstd"\nlevel = 19\n').archive
    assert archive is not None
    assert archive.stored_as == ("zstd", "19")
    plain = load(PAIR + ARCHIVE).archive
    assert plain is not None
    assert plain.stored_as == ()


@pytest.mark.parametrize(
    ("keys", "where", "what"),
    [
        ('compression = "gzip"', "compression", '"gzip" is not one of none, lz4 or zstd'),
        ('compression = "lz4"\nlevel = 13', "level", "13 is not a level of lz4"),
        ('compression = "zstd"\nlevel = 0', "level", "0 is not a level of zstd"),
        ("level = 3", "level", "there is a level, and nothing is compressed"),
    ],
)
def test_compression_that_cannot_be_is_refused(keys: str, where: str, what: str) -> None:
    problem = only_problem(PAIR + ARCHIVE + keys + "\n")
    assert (problem.where, problem.what) == (f"archive.{where}", what)


def test_another_tool_keeps_the_archive() -> None:
    topology = load(PAIR + FOREIGN)
    assert topology.archive is None
    assert topology.archive_hosts == ()
    assert topology.foreign_archive == ForeignArchive("wal-g wal-push %p", "wal-g wal-fetch %f %p")
    assert topology.archives


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (FOREIGN + 'directory = "/srv/wal"\n', "directory", '"directory" is for the archive that pgtandem keeps'),
        (FOREIGN + 'compression = "zstd"\n', "compression", '"compression" is for the archive that pgtandem keeps'),
        (FOREIGN.replace("restore", "# restore"), "restore", 'the key "restore" is missing'),
        (FOREIGN.replace("command", "# command"), "command", 'the key "command" is missing'),
        (FOREIGN.replace("wal-push %p", "wal-push"), "command", '"wal-g wal-push" lacks %p'),
        (FOREIGN.replace("%f %p", "%p"), "restore", '"wal-g wal-fetch %p" lacks %f'),
    ],
)
def test_commands_of_another_tool_that_cannot_be_are_refused(text: str, where: str, what: str) -> None:
    problem = only_problem(PAIR + text)
    assert problem.where == f"archive.{where}"
    assert problem.what.startswith(what)
