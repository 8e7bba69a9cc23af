"""PostgreSQL settings: every refusal, and how values become texts."""

import pytest

from pgtandem.errors import Problem
from pgtandem.postgres.owned import OWNED

from .files import CLUSTER, PAIR, TWO_NODES, load, only_problem, problems_of


def problem_with(line: str, major: int = 18) -> Problem:
    """The only problem of a file with this line under [parameters]."""
    return only_problem(PAIR.replace("= 18", f"= {major}") + f"[parameters]\n{line}\n")


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        ('work_mem = "64MB"', "work_mem", "64MB"),
        ("Work_Mem = 65536", "work_mem", "65536"),
        ("random_page_cost = 1.1", "random_page_cost", "1.1"),
        ("jit = true", "jit", "on"),
        ("jit = false", "jit", "off"),
        ('wal_level = "logical"', "wal_level", "logical"),
        ('search_path = "a, \\"B c\\", \'d\'"', "search_path", "a, \"B c\", 'd'"),
        ('log_line_prefix = "%m\\t[%p] "', "log_line_prefix", "%m\t[%p] "),
        ("'pg_stat_statements.track' = 'all'", "pg_stat_statements.track", "all"),
        ('shared_preload_libraries = ""', "shared_preload_libraries", ""),
        ("max_wal_senders = 4", "max_wal_senders", "4"),
    ],
)
def test_sound_setting_is_kept_as_its_text(line: str, name: str, text: str) -> None:
    assert load(f"{PAIR}[parameters]\n{line}\n").parameters == {name: text}


@pytest.mark.parametrize("name", sorted(OWNED))
def test_setting_that_pgtandem_decides_is_refused_with_what_to_write_instead(name: str) -> None:
    problem = problem_with(f'{name.upper()} = "x"')
    assert problem.where == f"parameters.{name.upper()}"
    assert problem.what == f'setting "{name}" is decided by pgtandem itself'
    assert OWNED[name][1:] in problem.why + problem.next_step


def test_setting_of_one_node_is_judged_by_the_same_rules() -> None:
    problem = only_problem(PAIR + '[nodes.db2.parameters]\nsynchronous_standby_names = "db1"\n')
    assert problem.where == "nodes.db2.parameters.synchronous_standby_names"
    assert problem.next_step == OWNED["synchronous_standby_names"]


def test_misspelt_setting_is_refused_with_what_was_meant() -> None:
    problem = problem_with('shared_bufers = "1GB"')
    assert problem.what == 'PostgreSQL 18 has no setting "shared_bufers"'
    assert problem.next_step == 'did you mean "shared_buffers"?'


def test_misspelt_setting_that_pgtandem_decides_says_both() -> None:
    problem = problem_with('archive_comand = "x"')
    decided = f"It is decided by pgtandem itself: {OWNED['archive_command']}"
    assert problem.next_step == f'did you mean "archive_command"? {decided}'


def test_setting_like_no_other_is_refused_without_a_guess() -> None:
    assert problem_with("xyzzy = 1") == Problem("parameters.xyzzy", 'PostgreSQL 18 has no setting "xyzzy"')


def test_renamed_setting_is_refused_with_its_successor() -> None:
    problem = problem_with("wal_keep_segments = 16")
    assert problem.why == "It exists only in PostgreSQL 10 to 12."
    assert problem.next_step == "write wal_keep_size: 16 MB for each segment"
    assert problem_with("checkpoint_segments = 16").next_step.startswith("write max_wal_size")
    assert problem_with("force_parallel_mode = 1").next_step == "write debug_parallel_query"


def test_setting_that_came_later_is_refused_with_its_predecessor() -> None:
    problem = problem_with("wal_keep_size = 16", major=12)
    assert problem.why == "It exists only in PostgreSQL 13 to 18."
    assert problem.next_step == "write wal_keep_segments, as it was called then"


def test_setting_that_went_away_is_refused_with_the_reason() -> None:
    problem = problem_with("vacuum_defer_cleanup_age = 5")
    assert problem.why == "It exists only in PostgreSQL 10 to 15."
    assert problem.next_step == "use hot_standby_feedback or replication slots"


def test_setting_of_later_versions_only_is_refused() -> None:
    assert problem_with("io_method = 'worker'", major=17).why == "It exists only in PostgreSQL 18."


def test_old_name_that_the_server_would_still_take_is_refused() -> None:
    problem = problem_with('sort_mem = "1MB"')
    assert (problem.what, problem.next_step) == ('"sort_mem" is an old name of "work_mem"', "write work_mem")


@pytest.mark.parametrize("name", ["block_size", "data_checksums", "server_version", "wal_segment_size"])
def test_setting_that_only_reports_is_refused(name: str) -> None:
    assert problem_with(f"{name} = 1").what == f'setting "{name}" cannot be changed'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('work_mem = "64 apples"', "work_mem expects a memory size"),
        ("max_connections = 0", "max_connections expects a whole number"),
        ('jit = "maybe"', "jit expects on or off"),
        ('wal_level = "all"', "wal_level expects one of"),
        ("max_connections = 1e30", "max_connections expects a whole number"),
    ],
)
def test_value_that_postgresql_would_refuse_is_refused_with_what_is_expected(line: str, words: str) -> None:
    assert words in problem_with(line).what


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("[1, 2]", "an array"),
        ("1979-05-27", "a date or time"),
        ("07:32:00", "a date or time"),
        ("inf", "inf"),
        ("nan", "nan"),
    ],
)
def test_value_of_no_setting_is_refused(value: str, found: str) -> None:
    assert problem_with(f"work_mem = {value}").what == f"{found} is not a value of a setting"


def test_extension_setting_without_quotes_is_refused_with_the_quotes() -> None:
    problem = problem_with("pg_stat_statements.max = 5000")
    assert problem.what == "a setting has a value, not a table"
    assert problem.next_step == 'a name with a dot stands in quotes: "pg_stat_statements.max" = ...'


@pytest.mark.parametrize("name", ["a.b.c", "a.b c", "a.", ".b", "a.b = 1\\nport", "a.b'"])
def test_name_that_no_extension_setting_has_is_refused(name: str) -> None:
    assert problem_with(f'"{name}" = 1').what == f'"{name}" is not the name of a setting'


@pytest.mark.parametrize("text", ["a\\nb", "a\\u0000b", "a\\rb", "\\u2028"])
def test_value_with_a_line_break_is_refused(text: str) -> None:
    assert "has a line break or another control character" in problem_with(f'log_line_prefix = "{text}"').what
    assert "has a line break or another control character" in problem_with(f'"a.b" = "{text}"').what


@pytest.mark.parametrize("value", ["minimal", "MINIMAL"])
def test_wal_level_without_standbys_is_refused(value: str) -> None:
    problem = problem_with(f'wal_level = "{value}"')
    assert (problem.what, problem.next_step) == (
        'wal_level "minimal" does not allow standbys',
        'wal_level = "replica"',
    )


@pytest.mark.parametrize("name", ["max_wal_senders", "max_replication_slots"])
def test_too_few_senders_or_slots_are_refused_with_the_number(name: str) -> None:
    problem = problem_with(f"{name} = 3")
    assert problem.what == "3 is too low for 2 nodes: at least 4 are needed"
    assert problem.next_step == f"{name} = 4"


def test_setting_given_twice_in_different_case_is_refused() -> None:
    problem = problem_with("work_mem = 64\nWork_Mem = 128")
    assert (problem.where, problem.what) == ("parameters.Work_Mem", '"work_mem" is given twice')


def test_parameters_that_are_no_table_are_refused() -> None:
    problem = only_problem(CLUSTER + TWO_NODES + 'parameters = "x"\n')
    assert (problem.where, problem.what) == (
        "nodes.db2.parameters",
        '"x" is not a table of settings',
    )


def test_all_settings_are_judged_whatever_is_wrong_with_one() -> None:
    problems = problems_of(PAIR + "[parameters]\njit = []\nwork_mem = 0\nxyzzy = 1\nport = 1\n")
    assert [problem.where.partition(".")[2] for problem in problems] == ["jit", "work_mem", "xyzzy", "port"]
