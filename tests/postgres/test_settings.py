"""The catalogue of settings, and `canonical` held against what real servers showed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtandem.postgres.settings import (
    SUPPORTED_MAJORS,
    SettingSpec,
    canonical,
    majors_with,
    setting_names,
    setting_spec,
)

RECORDED = Path(__file__).with_name("settings_recorded.tsv")

ALL_SPECS = [
    spec
    for major in SUPPORTED_MAJORS
    for name in sorted(setting_names(major))
    if (spec := setting_spec(major, name)) is not None
]
NUMBERS = [
    spec
    for spec in ALL_SPECS
    if spec.kind in ("integer", "real") and spec.minimum is not None and spec.maximum is not None
]


def known(major: int, name: str) -> SettingSpec:
    spec = setting_spec(major, name)
    assert spec is not None, f"{major} has no {name}"
    return spec


def recorded() -> list[tuple[int, str, str, str]]:
    facts: list[tuple[int, str, str, str]] = []
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            majors, name, text, shown = line.split("\t")
            facts.extend((int(major), name, text, shown) for major in majors.split(","))
    return facts


# canonical


def test_canonical_agrees_with_everything_recorded_from_real_servers() -> None:
    wrong = []
    facts = recorded()
    for major, name, text, shown in facts:
        try:
            ours = canonical(known(major, name), text)
        except ValueError:
            ours = "ERROR"
        if ours != shown:
            wrong.append(f"{major} {name} = {text!r}: the server says {shown!r}, canonical says {ours!r}")
    assert not wrong, "\n".join(wrong)
    assert len(facts) > 1000


@pytest.mark.parametrize("major", SUPPORTED_MAJORS)
def test_every_default_is_a_value_that_canonical_takes(major: int) -> None:
    for name in setting_names(major):
        spec = known(major, name)
        if spec.default is not None:
            assert canonical(spec, canonical(spec, spec.default)) == canonical(spec, spec.default)


def test_strings_stay_as_they_are() -> None:
    text = " host=db1  port=5432 'x' \\ "
    assert canonical(known(18, "primary_conninfo"), text) == text


def test_null_characters_are_refused_even_in_strings() -> None:
    with pytest.raises(ValueError, match="null characters"):
        canonical(known(18, "primary_conninfo"), "a\0b")


def test_fractions_round_half_to_even_as_the_server_does() -> None:
    spec = known(18, "max_connections")
    assert [canonical(spec, text) for text in ("100.5", "101.5")] == ["100", "102"]


@pytest.mark.parametrize(
    "text", ["1e308TB", "-1e308TB", "9" * 400, "0x" + "f" * 400, "1" * 5000, "9" * 40 + "MB", "1e99999"]
)
@pytest.mark.parametrize("major", SUPPORTED_MAJORS)
def test_absurdly_great_numbers_are_refused_like_others(major: int, text: str) -> None:
    # 1e308TB becomes infinite in the base unit: that once escaped as an OverflowError.
    for name in ("shared_buffers", "random_page_cost", "autovacuum_vacuum_cost_delay", "max_connections"):
        with pytest.raises(ValueError, match="expects "):
            canonical(known(major, name), text)


@pytest.mark.parametrize(
    ("major", "name", "text", "message"),
    [
        (
            *(18, "shared_buffers", "1QB"),
            "expects a memory size between 128kB and 8TB, such as '1GB' (got '1QB')",
        ),
        (
            *(18, "max_slot_wal_keep_size", "x"),
            "expects a memory size between 0 and 2048TB, or -1, such as '1GB' (got 'x')",
        ),
        (
            *(18, "checkpoint_timeout", "1"),
            "expects a time between 30s and 1d, such as '30s' (got '1')",
        ),
        (18, "max_connections", "many", "expects a whole number between 1 and 262143 (got 'many')"),
        (18, "random_page_cost", "-1", "expects a number of 0 or more (got '-1')"),
        (18, "hot_standby", "maybe", "expects on or off (got 'maybe')"),
        (18, "wal_level", "full", "expects one of minimal, replica, logical (got 'full')"),
        (
            *(18, "transaction_buffers", "17"),
            "expects a memory size between 0 and 1GB, in multiples of 128kB, such as '1GB' (got '17')",
        ),
        (
            *(18, "vacuum_buffer_usage_limit", "1"),
            "expects a memory size between 0 and 16GB, but not below 128kB unless 0, such as '1GB' (got '1')",
        ),
        (18, "hot_standby", "a\nb", r"expects on or off (got 'a\nb')"),
    ],
)
def test_a_refusal_says_in_one_line_what_is_expected(major: int, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match="expects") as refused:
        canonical(known(major, name), text)
    assert str(refused.value) == message


@given(st.sampled_from(ALL_SPECS), st.text(max_size=12))
def test_any_text_is_either_taken_or_refused_with_one_line(spec: SettingSpec, text: str) -> None:
    try:
        answer = canonical(spec, text)
    except ValueError as refused:
        answer = str(refused) if str(refused).startswith("expects ") else "\n"
    assert "\n" not in answer or spec.kind == "string"


@given(
    st.sampled_from(NUMBERS),
    st.one_of(st.integers(-(10**10), 10**12).map(str), st.floats().map(repr), st.floats(0, 5000).map(repr)),
    st.sampled_from(["", "B", "kB", "MB", "GB", "TB", "us", "ms", "s", "min", "h", "d", " s", "QB"]),
)
def test_canonical_of_canonical_changes_nothing(spec: SettingSpec, number: str, unit: str) -> None:
    try:
        shown = canonical(spec, number + unit)
    except ValueError:
        return
    assert canonical(spec, shown) == shown


@given(st.sampled_from(NUMBERS), st.integers(1, 10**6))
def test_numbers_beyond_the_limits_are_refused(spec: SettingSpec, beyond: int) -> None:
    assert spec.minimum is not None
    assert spec.maximum is not None
    outside = [spec.minimum - beyond, *([spec.maximum + beyond] if spec.maximum < 1e300 else [])]
    for value in outside:
        with pytest.raises(ValueError, match="expects "):
            canonical(spec, str(int(value)) if value == int(value) else repr(value))


@given(st.sampled_from(NUMBERS), st.data())
def test_whole_numbers_within_the_limits_are_shown_in_the_base_unit(spec: SettingSpec, data: st.DataObject) -> None:
    special = (
        *("autovacuum_work_mem", "wal_buffers", "vacuum_buffer_usage_limit", "io_max_concurrency"),
        *("log_file_mode", "unix_socket_permissions", "data_directory_mode"),
    )
    if spec.kind != "integer" or spec.name in special or (spec.unit == "8kB" and "_buffers" in spec.name):
        return
    assert spec.minimum is not None
    assert spec.maximum is not None
    value = data.draw(st.integers(int(spec.minimum), int(spec.maximum)))
    assert canonical(spec, str(value)) == str(value)


@given(st.sampled_from([spec for spec in ALL_SPECS if spec.kind == "enum"]), st.data())
def test_enum_values_are_taken_in_any_case(spec: SettingSpec, data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(spec.enum_values))
    assert canonical(spec, value.upper()) == canonical(spec, value)


# The catalogue


@pytest.mark.parametrize(
    ("name", "majors"),
    [
        ("wal_keep_segments", range(10, 13)),
        ("wal_keep_size", range(13, 19)),
        ("max_slot_wal_keep_size", range(13, 19)),
        ("primary_conninfo", range(12, 19)),
        ("primary_slot_name", range(12, 19)),
        ("restore_command", range(12, 19)),
        ("recovery_target_timeline", range(12, 19)),
        ("promote_trigger_file", range(12, 16)),
        ("summarize_wal", range(17, 19)),
        ("sync_replication_slots", range(17, 19)),
        ("idle_replication_slot_timeout", range(18, 19)),
        ("archive_library", range(15, 19)),
        ("stats_temp_directory", range(10, 15)),
        ("force_parallel_mode", range(10, 16)),
        ("max_wal_senders", range(10, 19)),
        ("ssl", range(10, 19)),
        ("wal_compression", range(10, 19)),
        ("standby_mode", ()),
        ("checkpoint_segments", ()),
    ],
)
def test_settings_come_and_go_with_the_major_versions_known_for_it(name: str, majors: range | tuple[int, ...]) -> None:
    assert majors_with(name) == tuple(majors)


@pytest.mark.parametrize(
    ("name", "contexts"),
    [
        ("primary_conninfo", {12: "postmaster", 13: "sighup"}),
        ("primary_slot_name", {12: "postmaster", 13: "sighup"}),
        ("restore_command", {12: "postmaster", 13: "postmaster", 14: "sighup"}),
        ("wal_sender_timeout", {11: "sighup", 12: "user"}),
        ("autovacuum_max_workers", {17: "postmaster", 18: "sighup"}),
        ("block_size", {10: "internal", 18: "internal"}),
        ("hot_standby", {10: "postmaster", 18: "postmaster"}),
    ],
)
def test_the_context_follows_the_major_version(name: str, contexts: dict[int, str]) -> None:
    for major, context in contexts.items():
        spec = known(major, name)
        assert spec.context == context
        assert spec.needs_restart is (context == "postmaster")
        assert spec.changeable is (context != "internal")


def test_a_spec_says_what_pg_settings_says() -> None:
    spec = known(15, "shared_buffers")
    assert (spec.kind, spec.unit, spec.context) == ("integer", "8kB", "postmaster")
    assert (spec.minimum, spec.maximum, spec.default) == (16.0, 1073741823.0, "16384")
    assert known(17, "wal_level").enum_values == ("minimal", "replica", "logical")
    assert known(10, "wal_compression").kind == "bool"
    assert known(12, "autovacuum_vacuum_cost_delay").kind == "real"


def test_values_that_only_some_builds_have_are_in_the_catalogue() -> None:
    assert {"lz4", "zstd"} <= set(known(15, "wal_compression").enum_values)
    assert "lz4" in known(14, "default_toast_compression").enum_values
    assert "io_uring" in known(18, "io_method").enum_values


def test_an_empty_enum_value_is_not_lost() -> None:
    assert known(13, "ssl_max_protocol_version").enum_values[0] == ""


def test_paths_and_versions_of_one_build_are_no_defaults() -> None:
    for name in ("unix_socket_directories", "server_version", "server_version_num", "krb_server_keyfile"):
        assert known(18, name).default is None


def test_names_are_found_in_any_case_and_spelled_as_the_server_does() -> None:
    assert known(18, "datestyle").name == known(18, "DATESTYLE").name == "DateStyle"
    assert "DateStyle" in setting_names(18)


def test_old_names_that_the_server_still_takes_find_the_present_setting() -> None:
    assert known(18, "sort_mem").name == "work_mem"
    assert known(18, "ssl_ecdh_curve").name == "ssl_groups"
    assert known(17, "ssl_ecdh_curve").name == "ssl_ecdh_curve"
    assert "sort_mem" not in setting_names(18)


def test_settings_of_extensions_and_unknown_ones_are_not_found() -> None:
    assert setting_spec(18, "pg_stat_statements.max") is None
    assert setting_spec(18, "shared_bufers") is None
    assert setting_spec(18, "") is None


def test_majors_before_the_catalogue_are_refused() -> None:
    with pytest.raises(ValueError, match="from 10 on"):
        setting_spec(9, "port")
    with pytest.raises(ValueError, match="from 10 on"):
        setting_names(9)


def test_a_newer_major_than_the_catalogue_has_is_taken_for_the_newest() -> None:
    assert setting_names(19) == setting_names(18)
    assert setting_spec(19, "io_method") == setting_spec(18, "io_method")


@pytest.mark.parametrize(
    ("major", "count"),
    [(10, 271), (11, 291), (12, 316), (13, 331), (14, 346), (15, 353), (16, 362), (17, 378), (18, 398)],
)
def test_every_major_has_as_many_settings_as_its_server_showed(major: int, count: int) -> None:
    assert len(setting_names(major)) == count


def test_the_file_is_sorted_and_has_one_line_per_setting_and_run_of_majors() -> None:
    source = Path(__file__).parents[2] / "src/pgtandem/postgres/settings.tsv"
    lines = [line.split("\t") for line in source.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    keys = [(line[0].lower(), int(line[1].split("-")[0])) for line in lines]
    assert keys == sorted(set(keys))
    assert {len(line) for line in lines} == {10}
    for before, after in itertools.pairwise(lines):
        touching = int(before[1].split("-")[-1]) + 1 == int(after[1].split("-")[0])
        assert not (before[0] == after[0] and before[2:] == after[2:] and touching)
