"""Two small programs in Python for hosts that have one: what is in the blocks of files, and writing blocks into files.

They need nothing but the standard library of Python 3.6 or later. Files are read in blocks of BLOCK_BYTES; a block's
digest is the first half of its SHA-256, so that two different blocks are taken for the same about never.
"""

from collections.abc import Iterator, Mapping, Sequence

from pgtandem.model.value import dataclass

BLOCK_BYTES = 128 * 1024
_DIGEST_BYTES = 16

#: Whether Python is there, and new enough.
PROBE = "import hashlib, struct, sys; hashlib.sha256; sys.exit(sys.version_info < (3, 6))"

#: argv: the folder, and how many bytes it may read per second (0: any number). stdin: paths below it, each ended by a
#: zero byte. stdout: for each, in order, a line with the digests of its blocks in hexadecimal digits; an empty line for
#: a file that is empty, or is not there.
DIGESTS = f"""\
import hashlib, os, sys, time
os.chdir(sys.argv[1])
limit, total, began = int(sys.argv[2]), 0, time.monotonic()
for path in sys.stdin.buffer.read().split(b"\\0")[:-1]:
    found = []
    try:
        with open(path, "rb", buffering=0) as file:
            while True:
                block = file.read({BLOCK_BYTES})
                if not block:
                    break
                found.append(hashlib.sha256(block).hexdigest()[:{2 * _DIGEST_BYTES}])
                total += len(block)
                if limit:
                    time.sleep(max(0, began + total / limit - time.monotonic()))
    except FileNotFoundError:
        found = []
    print("".join(found))
"""

#: argv: the folder, the conninfo, psql, how many bytes it may write per second (0: any number), the umask. stdin: a
#: line with the length of the SQL, the SQL, and then, each ended by a zero byte, "SIZE PATH" for every file. The SQL
#: copies rows (path, offset, content) in binary format to psql's stdout; they are written where they belong, and each
#: file gets its size. One without content is gone: it is removed, and its path written to stdout, ended by a zero byte.
#: stderr: how many bytes were written so far, in lines.
PATCH = """\
import os, struct, subprocess, sys, threading, time
os.umask(int(sys.argv[5], 8))
os.chdir(sys.argv[1])
limit, began, gone = int(sys.argv[4]), time.monotonic(), set()
length = int(sys.stdin.buffer.readline())
sql = sys.stdin.buffer.read(length)
sizes = [entry.split(b" ", 1) for entry in sys.stdin.buffer.read().split(b"\\0")[:-1]]
psql = subprocess.Popen([sys.argv[3], "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", sys.argv[2], "-f", "-"],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def ask():
    try:
        psql.stdin.write(sql)
        psql.stdin.close()
    except BrokenPipeError:
        pass
threading.Thread(target=ask, daemon=True).start()
source = psql.stdout
def need(count):
    data = source.read(count)
    if len(data) != count:
        psql.wait()
        sys.exit("the server's answer ended early")
    return data
def value():
    size = struct.unpack("!i", need(4))[0]
    return None if size < 0 else need(size)
written = 0
while True:
    begin = source.read(11)
    if not begin:
        break
    if begin != b"PGCOPY\\n\\xff\\r\\n\\0":
        sys.exit("the server's answer is not what was asked for")
    need(4)
    need(struct.unpack("!i", need(4))[0])
    while struct.unpack("!h", need(2))[0] >= 0:
        path, offset, content = value(), struct.unpack("!q", value())[0], value()
        if content is None:
            gone.add(path)
            continue
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            at = 0
            while at < len(content):
                at += os.pwrite(file, content[at:], offset + at)
        finally:
            os.close(file)
        written += len(content)
        sys.stderr.write("%d\\n" % written)
        sys.stderr.flush()
        if limit:
            time.sleep(max(0, began + written / limit - time.monotonic()))
if psql.wait():
    sys.exit(1)
for size, path in sizes:
    if path in gone:
        if os.path.exists(path):
            os.unlink(path)
        sys.stdout.buffer.write(path + b"\\0")
        continue
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.ftruncate(file, int(size))
    finally:
        os.close(file)
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a file."""

    path: str
    offset: int
    size: int


def parse_digests(paths: Sequence[str], output: bytes) -> dict[str, tuple[str, ...]]:
    """What DIGESTS has printed, by path. Raises ValueError."""
    lines, width = output.decode().split("\n")[:-1], 2 * _DIGEST_BYTES
    if len(lines) != len(paths) or any(len(line) % width for line in lines):
        raise ValueError("the digests of a host's files are not what was asked for")
    return {
        path: tuple(line[at : at + width] for at in range(0, len(line), width))
        for path, line in zip(paths, lines, strict=True)
    }


def differing_blocks(
    sizes: Mapping[str, int], wanted: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]
) -> Iterator[Block]:
    """The blocks of the files of `sizes` that have to be fetched: those whose digest here is not the one there."""
    for path, size in sizes.items():
        there, here = wanted.get(path, ()), found.get(path, ())
        for number, offset in enumerate(range(0, size, BLOCK_BYTES)):
            same = number < len(there) and number < len(here) and there[number] == here[number]
            if not same:
                yield Block(path, offset, min(BLOCK_BYTES, size - offset))


def render_fetch(blocks: Sequence[Block], at_once: int = 1000) -> str:
    """SQL that copies blocks to psql's stdout (manual, 9.28.9: pg_read_binary_file; COPY's binary format). A file that
    is gone has no content."""
    statements = []
    for first in range(0, len(blocks), at_once):
        rows = ",\n".join(
            f"({_literal(block.path)}, {block.offset}::bigint, {block.size}::bigint)"
            for block in blocks[first : first + at_once]
        )
        statements.append(
            "COPY (SELECT convert_to(path, 'UTF8'), start, pg_catalog.pg_read_binary_file(path, start, size, true)\n"
            f"FROM (VALUES {rows}) AS block(path, start, size)) TO STDOUT (FORMAT binary);\n"
        )
    return "SET standard_conforming_strings = on;\n" + "".join(statements)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
