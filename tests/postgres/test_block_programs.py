"""The programs that compare and write blocks of files, run as hosts run them."""

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from pgtandem.postgres.block_programs import (
    BLOCK_BYTES,
    DIGESTS,
    PATCH,
    PROBE,
    PYTHON,
    Block,
    differing_blocks,
    parse_digests,
    render_fetch,
)

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_END = struct.pack("!h", -1)


def digests(folder: Path, *paths: str, key: str = "") -> dict[str, tuple[str, ...]]:
    stdin = key.encode() + b"\n" + b"".join(path.encode() + b"\0" for path in paths)
    done = subprocess.run([*PYTHON, DIGESTS, folder, "0"], input=stdin, capture_output=True, check=True)
    return parse_digests(paths, done.stdout)


def keyed() -> bool:
    done = subprocess.run([*PYTHON, PROBE], capture_output=True, text=True, check=True)
    assert done.stdout in ("keyed\n", "\n")
    return done.stdout == "keyed\n"


def test_digests_are_of_the_blocks_in_order_and_none_for_what_is_not_there(tmp_path: Path) -> None:
    content = bytes(range(256)) * (BLOCK_BYTES // 128)
    (tmp_path / "two and a bit").write_bytes(content + b"x")
    (tmp_path / "empty").touch()
    found = digests(tmp_path, "empty", "gone", "two and a bit")
    wanted = [hashlib.sha256(part).hexdigest()[:32] for part in (content[:BLOCK_BYTES], content[BLOCK_BYTES:], b"x")]
    assert found == {"empty": (), "gone": (), "two and a bit": tuple(wanted)}


@pytest.mark.skipif(not keyed(), reason="there is no OpenSSL 3")
def test_digests_with_a_key_tell_contents_lengths_and_keys_apart(tmp_path: Path) -> None:
    contents = {"one": b"a" * BLOCK_BYTES, "same": b"a" * BLOCK_BYTES, "other": b"a" * (BLOCK_BYTES - 1) + b"b"}
    contents |= {"shorter": b"a" * (BLOCK_BYTES - 1), "zeros": b"\0" * 20, "more zeros": b"\0" * 21}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = digests(tmp_path, *contents, key="85d6be7857556d337f4452fe42d506a8" * 2)
    assert all(len(digest) == 32 for (digest,) in found.values())
    assert found["one"] == found["same"]
    assert len(set(found.values())) == len(contents) - 1
    assert digests(tmp_path, "one", key="95d6be7857556d337f4452fe42d506a8" * 2)["one"] != found["one"]
    (tmp_path / "two blocks").write_bytes(contents["one"] + contents["other"])
    both = digests(tmp_path, "two blocks", key="85d6be7857556d337f4452fe42d506a8" * 2)["two blocks"]
    assert both == found["one"] + found["other"]


@pytest.mark.parametrize("output", [b"", b"00\n", b"\n\n", b"00" * 16])
def test_digests_of_something_else_are_a_value_error(output: bytes) -> None:
    with pytest.raises(ValueError, match="not what was asked for"):
        parse_digests(["one"], output)


@pytest.mark.parametrize(
    ("size", "there", "here", "offsets"),
    [
        (3 * BLOCK_BYTES, "abc", "abc", []),
        (3 * BLOCK_BYTES, "abc", "axc", [1]),
        (3 * BLOCK_BYTES, "abc", "ab", [2]),
        (2 * BLOCK_BYTES, "ab", "abc", []),
        (3 * BLOCK_BYTES, "ab", "abc", [2]),
        (BLOCK_BYTES + 1, "ab", "", [0, 1]),
        (0, "", "a", []),
    ],
)
def test_blocks_differ_where_a_digest_differs_or_is_missing(
    size: int, there: str, here: str, offsets: list[int]
) -> None:
    blocks = list(differing_blocks({"file": size}, {"file": tuple(there)}, {"file": tuple(here)}))
    assert [block.offset for block in blocks] == [number * BLOCK_BYTES for number in offsets]
    assert all(block.offset + block.size <= size for block in blocks)


def test_sql_asks_for_each_block_by_its_quoted_name() -> None:
    text = render_fetch([Block("it's", 0, 5), Block("b", 8, 1), Block("c", 0, 1)], at_once=2)
    assert "('it''s', 0::bigint, 5::bigint),\n('b', 8::bigint, 1::bigint)" in text
    assert text.count("COPY (") == 2


def patched(folder: Path, answer: bytes, sizes: dict[str, int], *, psql_ends_with: int = 0) -> tuple[int, bytes, bytes]:
    """What PATCH makes of an answer: exit code, stdout, stderr."""
    (folder / "answer").write_bytes(answer)
    psql = folder / "psql"
    psql.write_text(f'#!/bin/sh\ncat >/dev/null\ncat "{folder}/answer"\nexit {psql_ends_with}\n')
    psql.chmod(0o755)
    data = folder / "data"
    data.mkdir(exist_ok=True)
    stdin = b"3\nSQL" + b"".join(f"{size} {path}".encode() + b"\0" for path, size in sizes.items())
    argv = [sys.executable, "-c", PATCH, data, "conninfo", psql, "0", "77"]
    done = subprocess.run(argv, input=stdin, capture_output=True)
    return done.returncode, done.stdout, done.stderr


def row(path: bytes, offset: int, content: bytes | None) -> bytes:
    body = struct.pack("!h", 3) + struct.pack("!i", len(path)) + path + struct.pack("!iq", 8, offset)
    return body + (struct.pack("!i", -1) if content is None else struct.pack("!i", len(content)) + content)


def test_blocks_are_written_where_they_belong_and_files_get_their_sizes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "old").write_bytes(b"0123456789")
    (data / "going").write_bytes(b"x")
    answer = _HEADER + row(b"old", 2, b"AB") + row(b"new", 3, b"new") + _END
    answer += _HEADER + row(b"going", 0, None) + _END
    code, out, err = patched(tmp_path, answer, {"old": 6, "new": 6, "longer": 2, "going": 1})
    assert (code, out) == (0, b"going\0"), err
    assert err.split() == [b"5"]
    contents = {path.name: path.read_bytes() for path in data.iterdir()}
    assert contents == {"old": b"01AB45", "new": b"\0\0\0new", "longer": b"\0\0"}
    assert (data / "new").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("answer", "ends_with", "why"),
    [
        (_HEADER + row(b"old", 0, b"AB")[:-1], 0, b"ended early"),
        (_HEADER + row(b"old", 0, b"AB"), 0, b"ended early"),
        (b"psql: something else entirely", 0, b"not what was asked for"),
        (_HEADER + row(b"old", 0, b"AB") + _END, 3, b""),
        (b"", 2, b""),
    ],
)
def test_answer_that_is_not_whole_is_a_failure(tmp_path: Path, answer: bytes, ends_with: int, why: bytes) -> None:
    code, _, err = patched(tmp_path, answer, {"old": 2}, psql_ends_with=ends_with)
    assert code != 0
    assert why in err
