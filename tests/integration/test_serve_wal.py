"""The forced command that gives out and takes in WAL, run as sshd runs it, by every shell that /bin/sh may be."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgtandem.postgres.wal_serve import MARK, SERVE_TEXT

SEGMENT = "0000000100000000000000FF"
NEXT = "000000010000000100000000"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


class Served:
    """An archive with a file beside it that nobody may have, and the script."""

    def __init__(self, folder: Path, shell: str) -> None:
        self.folder = folder / "the archive's" / "7000"
        self.folder.mkdir(parents=True)
        (folder / "secret").write_text("secret")
        (self.folder.parent / "secret").write_text("secret")
        self.script = folder / "serve-wal"
        self.script.write_text(SERVE_TEXT)
        self.argv = [shell, *(["sh"] if shell == "busybox" else ["--posix"] if shell == "bash" else [])]

    def ask(self, command: str, *rights: str, content: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*self.argv, str(self.script), str(self.folder), *rights],
            env={"PATH": os.environ["PATH"], "SSH_ORIGINAL_COMMAND": command},
            input=content,
            capture_output=True,
            timeout=60,
        )

    def store(self, stream: bytes, *rights: str) -> "subprocess.CompletedProcess[bytes]":
        return self.ask("store", *(rights or ("put",)), content=stream)

    def names(self) -> list[str]:
        """The files of the archive; nothing half is ever left."""
        assert not list(self.folder.glob(".incoming/*"))
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())


def sent(name: str, content: bytes, sum_of: bytes | None = None) -> bytes:
    """One file as it is sent, with the checksum of other content where that is given."""
    told = subprocess.run(["cksum"], input=content if sum_of is None else sum_of, capture_output=True).stdout.split()
    return f"file {name} {len(content)} {told[0].decode()}\n".encode() + content


COMMIT = b"commit\n"


@pytest.fixture(params=SHELLS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Served:
    return Served(tmp_path, request.param)


def answer(text: str) -> bytes:
    return f"\n{MARK}\n{text}".encode()


def test_one_file_comes_with_its_size_and_its_successor(served: Served) -> None:
    content = os.urandom(1 << 24)
    (served.folder / SEGMENT).write_bytes(content)
    assert served.ask(f"get {SEGMENT}").stdout == answer(f"{SEGMENT} {1 << 24} {NEXT} none -\n") + content + b"end\n"


def test_the_next_ones_come_over_the_same_connection_until_one_is_missing(served: Served) -> None:
    first, second = os.urandom(1 << 24), os.urandom(1 << 24)
    (served.folder / SEGMENT).write_bytes(first)
    (served.folder / NEXT).write_bytes(second)
    done = served.ask(f"get {SEGMENT} 9999").stdout
    assert done.endswith(first + f"{NEXT} {1 << 24} 000000010000000100000001 none -\n".encode() + second + b"end\n")
    assert served.ask(f"get {SEGMENT} 1").stdout.endswith(first + b"end\n")


@pytest.mark.parametrize(
    ("name", "megabytes", "following"),
    [
        ("000000010000000000000FFF", 1, "000000010000000100000000"),
        ("00000001000000000000003F", 64, "000000010000000100000000"),
        ("0000000A0000000900000003", 1024, "0000000A0000000A00000000"),
        ("000000010000000000000009", 16, "00000001000000000000000A"),
    ],
)
def test_the_successor_follows_from_the_size_of_a_segment(
    served: Served, name: str, megabytes: int, following: str
) -> None:
    with (served.folder / name).open("wb") as file:
        file.truncate(megabytes << 20)
    process = subprocess.Popen(
        [*served.argv, str(served.script), str(served.folder)],
        env={"PATH": os.environ["PATH"], "SSH_ORIGINAL_COMMAND": f"get {name}"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout as stdout:
        lines = [stdout.readline() for _ in range(3)]
    process.wait(30)
    assert lines[2] == f"{name} {megabytes << 20} {following} none -\n".encode()


@pytest.mark.parametrize("name", ["00000002.history", f"{SEGMENT}.partial", f"{SEGMENT}.00000028.backup"])
def test_every_kind_of_wal_file_comes_and_goes(served: Served, name: str) -> None:
    assert served.ask(f"get {name}").stdout == answer("absent\n")
    put = served.store(sent(name, b"hello") + COMMIT)
    assert put.stdout == answer("") + f"{MARK} stored {name}\n".encode()
    assert served.ask(f"get {name}").stdout == answer(f"{name} 5 - none ,3287646509:5\nhelloend\n")
    assert served.names() == [name]


def test_a_missing_folder_is_not_an_empty_one(served: Served) -> None:
    served.folder.rmdir()
    assert served.ask(f"get {SEGMENT}").stdout == answer("missing\n")
    put = served.store(sent(SEGMENT, b"hello") + COMMIT)
    assert (put.returncode, put.stdout) == (1, answer("missing\n"))
    assert served.ask("hello").returncode == 1
    assert not served.folder.exists()


def test_the_same_content_again_is_fine_and_other_content_changes_nothing(served: Served) -> None:
    for _ in range(2):
        assert served.store(sent(SEGMENT, b"hello") + COMMIT).returncode == 0
    inode = (served.folder / SEGMENT).stat().st_ino
    other = served.store(sent(SEGMENT, b"world") + COMMIT)
    assert other.returncode == 1
    assert b"nothing was overwritten" in other.stderr
    assert b"stored" not in other.stdout
    assert (served.folder / SEGMENT).read_bytes() == b"hello"
    assert (served.folder / SEGMENT).stat().st_ino == inode
    assert served.names() == [SEGMENT]


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        sent(SEGMENT, b"hello"),
        sent(SEGMENT, b"hello")[:-1],
        sent(SEGMENT, b"hello") + b"comm",
        sent(SEGMENT, b"hello")[:-1] + COMMIT,
        sent(SEGMENT, b"hello", sum_of=b"world") + COMMIT,
        sent(SEGMENT, b"hello") + b"!" + COMMIT,
    ],
    ids=["nothing", "no end", "cut off", "cut off in the end", "shorter", "flipped", "longer"],
)
def test_what_does_not_come_whole_is_not_stored(served: Served, stream: bytes) -> None:
    done = served.store(stream)
    assert b"stored" not in done.stdout
    assert served.names() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_told_to_who_sends(served: Served) -> None:
    """Who sends has that in the server's log: the archive's host is another one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(served.folder)], check=True)
    try:
        done = served.store(sent(SEGMENT, os.urandom(1 << 20)) + COMMIT)
        assert (done.returncode, served.names()) == (1, [])
        assert b"No space left on device" in done.stderr
        assert f"serve-wal: could not write {SEGMENT}".encode() in done.stderr
    finally:
        subprocess.run(["umount", "-l", str(served.folder)], check=True)


def test_many_files_come_over_one_connection_each_with_its_checksum(served: Served) -> None:
    files = {f"0000000100000000{number:08X}": os.urandom(1 << 20) for number in range(5)}
    files["0000000100000001000000FF.zst"] = b"taken as it is"
    files["00000002.history"] = b"1\t0/5000000\tbecause\n"
    stream = (
        b"".join(
            sent(name, content) + (COMMIT if at % 3 == 2 else b"\n") for at, (name, content) in enumerate(files.items())
        )
        + COMMIT
    )
    done = served.store(stream)
    assert done.returncode == 0, done.stderr
    assert done.stdout == answer("") + b"".join(f"{MARK} stored {name}\n".encode() for name in files)
    assert {name: (served.folder / name).read_bytes() for name in served.names()} == files
    check = 'cksum $(cut -d" " -f3 checksums/* | sort) | sort >now; sort checksums/* | diff - now; rm now'
    assert subprocess.run(["sh", "-c", check], cwd=served.folder, capture_output=True).stdout == b""
    told = served.ask("get 0000000100000001000000FF").stdout
    line = sent("", b"taken as it is").split()
    assert f" 14 000000010000000100000100 zstd ,{line[2].decode()}:14\n".encode() in told


def test_other_content_in_another_form_changes_nothing(served: Served) -> None:
    (served.folder / SEGMENT).write_bytes(b"hello")
    packed = subprocess.run(["zstd", "-qc"], input=b"hello", capture_output=True).stdout
    assert served.store(sent(f"{SEGMENT}.zst", packed) + COMMIT).stdout.endswith(f"stored {SEGMENT}.zst\n".encode())
    other = subprocess.run(["zstd", "-qc"], input=b"world", capture_output=True).stdout
    done = served.store(sent(f"{SEGMENT}.zst", other) + COMMIT)
    assert b"nothing was overwritten" in done.stderr
    assert done.returncode == 1
    assert served.names() == [SEGMENT]


@pytest.mark.parametrize(
    "line",
    [
        "file ../other 5 1",
        "file .ssh 5 1",
        f"file {SEGMENT} 0 1",
        f"file {SEGMENT} 5x 1",
        f"file {SEGMENT}.gz 5 1",
        f"file {SEGMENT} 9999999999 1",
        f"file {SEGMENT}.zst.zst 5 1",
        "rm 1 1 1",
        f"file {SEGMENT} 5 1 5 sh",
        f"file {SEGMENT} 5 1 5x lz4",
        f"file {SEGMENT} 5 1 9999999999 lz4",
        f"file ../{SEGMENT} 5 1",
    ],
)
def test_lines_that_name_no_wal_file_are_refused(tmp_path: Path, line: str) -> None:
    served = Served(tmp_path, SHELLS[0])
    done = served.store(f"{line}\n".encode() + b"hello" + COMMIT)
    assert done.returncode == 1
    assert b"refused" in done.stderr
    assert served.names() == []
    assert sorted(path.name for path in served.folder.parent.iterdir()) == ["7000", "secret"]


@pytest.mark.parametrize("program", ["lz4", "zstd"])
def test_wal_that_is_stored_as_it_is_comes_compressed_to_who_can_expand_it(tmp_path: Path, program: str) -> None:
    served = Served(tmp_path, SHELLS[0])
    segments = {name: os.urandom(1 << 19) + bytes((1 << 24) - (1 << 19)) for name in (SEGMENT, NEXT)}
    for name, content in segments.items():
        (served.folder / name).write_bytes(content)
    plain = served.ask(f"get {SEGMENT} 9999").stdout.removeprefix(answer(""))
    told, packed = served.ask(f"get {SEGMENT} 9999 {program}").stdout.removeprefix(answer("")).split(b"\n", 1)
    assert told == f"packed {program}".encode()
    assert len(packed) < 1 << 22
    assert subprocess.run([program, "-dcq"], input=packed, capture_output=True).stdout == plain
    (served.folder / SEGMENT).rename(served.folder / f"{SEGMENT}.lz4")
    assert b"packed" not in served.ask(f"get {SEGMENT} 1 lz4,zstd").stdout, "nothing is compressed twice"


@pytest.mark.parametrize("program", ["lz4", "zstd"])
def test_what_comes_compressed_is_stored_as_it_was_and_checked(tmp_path: Path, program: str) -> None:
    served = Served(tmp_path, SHELLS[0])
    content = os.urandom(1 << 19) + bytes(1 << 19)
    packed = subprocess.run([program, "-1qc"], input=content, capture_output=True).stdout
    line = sent(SEGMENT, content).split(b"\n", 1)[0] + f" {len(packed)} {program}\n".encode()
    assert program.encode() in served.ask("programs", "put").stdout.split()
    flipped = packed[:-200] + bytes([packed[-200] ^ 1]) + packed[-199:]
    for damaged in (packed[:-100], flipped):
        assert b"stored" not in served.store(line + damaged + COMMIT).stdout
        assert served.names() == []
    done = served.store(line + packed + COMMIT)
    assert done.stdout == answer(f"{MARK} stored {SEGMENT}\n"), done.stderr
    assert (served.folder / SEGMENT).read_bytes() == content


def test_hello_tells_the_rights(served: Served) -> None:
    assert served.ask("hello").stdout == answer("get \n")
    assert served.ask("hello", "put").stdout == answer("get put\n")


REFUSED = [
    "",
    "sh",
    "cat ../secret",
    "get",
    "get ../secret",
    "get /etc/passwd",
    "get secret",
    "get 00000001000000000000000g",
    "get 0000000100000000000000ff",
    f"get {SEGMENT}/../../secret",
    f"get {SEGMENT}.backup",
    f"get {SEGMENT}./../xyz.backup",
    f"get {SEGMENT}./x/y.ABC.backup",
    f"get {SEGMENT}.history",
    "get .history",
    "get ../x.hi.history",
    f"get {SEGMENT} 0",
    f"get {SEGMENT} 10000",
    f"get {SEGMENT} -1",
    f"get {SEGMENT} 1 1",
    f"get {SEGMENT} 1 gzip",
    f"get {SEGMENT} 1 lz4,sh",
    f"get {SEGMENT} 1 lz4 zstd",
    "programs x",
    f"get {SEGMENT};cat ../secret",
    f"get $(cat ../secret) {SEGMENT}",
    f"put {SEGMENT} 5",
    "store x",
    "hello world",
]


@pytest.mark.parametrize("command", REFUSED)
def test_everything_else_is_refused(served: Served, command: str) -> None:
    done = served.ask(command, "put", content=b"hello")
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"refused" in done.stderr
    assert served.names() == []


def test_without_the_right_nothing_is_added(served: Served) -> None:
    done = served.ask("store", content=sent(SEGMENT, b"hello") + COMMIT)
    assert (done.returncode, done.stdout) == (1, b"")
    assert served.names() == []


word = st.one_of(
    st.sampled_from(
        ["get", "store", "hello", SEGMENT, "5", "1", "..", "/", "*", "-", "$(id)", "`id`", "'", '"', "\\", ";"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.lists(word, max_size=5).map(" ".join))
def test_no_words_give_out_what_is_not_wal_or_leave_anything(tmp_path: Path, command: str) -> None:
    folder = tmp_path / "served"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    served = Served(folder, SHELLS[0])
    done = served.ask(command)
    assert b"secret" not in done.stdout
    assert done.stdout in (b"", answer("get \n"), answer("absent\n"))
    assert served.names() == []
