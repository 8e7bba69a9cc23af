"""What of a data directory is copied, and how a copy is held against what it was made from."""

import json

import pytest

from pgtandem.postgres.base_backup import not_copied, parse_manifest, tree_of


def listed(*lines: str) -> bytes:
    """As find prints it: "KIND MODE SIZE PATH"."""
    return b"".join(line.encode("utf-8", "surrogateescape") + b"\0" for line in lines)


def files_of(*paths: str) -> list[str]:
    return sorted(tree_of(listed("d 700 4096 ", *(f"f 600 1 {path}" for path in paths))).files)


def test_what_belongs_to_the_running_server_alone_is_left_out() -> None:
    passing = [
        *("postmaster.pid", "postmaster.opts", "backup_label", "tablespace_map", "backup_manifest"),
        *("postgresql.auto.conf.tmp", "current_logfiles.tmp", "global/pg_internal.init", "base/5/pg_internal.init.77"),
        *("pg_wal/000000010000000000000001", "pg_wal/archive_status/000000010000000000000001.done"),
        *("pg_replslot/pgtandem_db2/state", "pg_dynshmem/mmap.1", "pg_notify/0000", "pg_serial/0000"),
        *("pg_snapshots/x", "pg_stat_tmp/global.stat", "pg_subtrans/0000", "base/pgsql_tmp/pgsql_tmp1.0"),
    ]
    kept = ["PG_VERSION", "global/1262", "pg_xact/0000", "pg_stat/pgstat.stat", "pgtandem/node.json", "log/today.log"]
    assert files_of(*passing, *kept) == sorted(kept)


def test_control_file_is_not_among_what_is_copied_first() -> None:
    assert files_of("global/pg_control", "global/pg_filenode.map") == ["global/pg_filenode.map"]


def test_temporary_tables_and_all_but_the_init_fork_of_unlogged_ones_are_left_out() -> None:
    logged = ["base/5/100", "base/5/100.1", "base/5/100_fsm", "base/5/100_vm", "base/6/200", "global/200"]
    unlogged = ["base/5/200", "base/5/200.1", "base/5/200_fsm", "base/5/200_vm"]
    temporary = ["base/5/t3_300", "base/5/t3_300.1", "base/5/t3_300_vm"]
    assert files_of(*logged, *unlogged, "base/5/200_init", *temporary) == sorted([*logged, "base/5/200_init"])


def test_names_that_only_look_like_relations_elsewhere_are_copied() -> None:
    assert files_of("t3_300", "base/t3_300", "pg_xact/t3_300", "200", "200_init") == sorted(
        ["t3_300", "base/t3_300", "pg_xact/t3_300", "200", "200_init"]
    )


def test_tablespace_within_the_data_directory_is_copied_by_the_same_rules() -> None:
    inside = "pg_tblspc/9/PG_15_202209061/5"
    assert files_of(f"{inside}/1", f"{inside}/1_init", f"{inside}/2") == [f"{inside}/1_init", f"{inside}/2"]


def test_folders_are_kept_where_their_content_is_not() -> None:
    tree = tree_of(
        listed(
            *("d 700 0 ", "l 777 20 pg_wal", "d 700 0 pg_replslot", "d 700 0 pg_replslot/x", "d 700 0 base"),
            *("d 700 0 base/5", "d 700 0 base/pgsql_tmp", "l 777 9 pg_tblspc/77", "l 777 9 elsewhere.conf"),
        )
    )
    assert tree.folders == ("base", "base/5", "pg_replslot", "pg_wal", "pg_wal/archive_status")
    assert tree.elsewhere == ("pg_tblspc/77",)
    assert tree.files == {}


@pytest.mark.parametrize(("mode", "umask"), [("700", 0o077), ("750", 0o027), ("2750", 0o027), ("710", 0o077)])
def test_group_may_read_the_copy_where_it_may_read_the_source(mode: str, umask: int) -> None:
    assert tree_of(listed(f"d {mode} 4096 ")).umask == umask


def test_any_name_can_be_listed() -> None:
    assert files_of("a b", "line\nbreak", "\udcff") == ["a b", "line\nbreak", "\udcff"]


@pytest.mark.parametrize(
    ("before", "after", "copied", "wrong"),
    [
        (8, 8, 8, False),
        (8, 16, 8, False),
        (8, 16, 16, False),
        (16, 8, 8, False),
        (8, 24, 16, False),
        (8, 8, 0, True),
        (8, 16, 0, True),
        (16, 8, 0, True),
        (8, 8, 16, True),
        (8, None, None, False),
        (8, None, 0, False),
        (8, 8, None, True),
    ],
)
def test_copy_has_a_size_that_the_source_had(before: int, after: int | None, copied: int | None, wrong: bool) -> None:
    def tree(size: int | None) -> dict[str, int]:
        return {} if size is None else {"base/5/1": size}

    assert not_copied(tree(before), tree(after), tree(copied)) == (("base/5/1",) if wrong else ())


def test_manifest_tells_sizes_also_of_names_that_are_no_utf_8() -> None:
    text = json.dumps({"Files": [{"Path": "PG_VERSION", "Size": 3}, {"Encoded-Path": "61ff", "Size": 5}]})
    assert parse_manifest(text) == {"PG_VERSION": 3, "a\udcff": 5}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"Files": [{"Size": 3}]}', '{"Files": [{"Path": "x", "Size": "y"}]}']
)
def test_what_is_no_manifest_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_manifest(text)
