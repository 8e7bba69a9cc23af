"""Two small programs in Python for hosts that have one: what is in the blocks of files, and writing blocks into files.

They need nothing but the standard library of Python 3.6 or later. Files are read in blocks of BLOCK_BYTES. A block's
digest is its Poly1305 under a key of this copy alone, where both hosts have OpenSSL 3 (which PostgreSQL itself uses for
TLS): that is five times as fast as SHA-256. Two different blocks have the same one with a probability of about 2^-90 as
long as who writes the data does not know the key. Elsewhere it is the first half of its SHA-256.
"""

from collections.abc import Iterator, Mapping, Sequence

from pgtandem.model.value import dataclass

BLOCK_BYTES = 128 * 1024
_DIGEST_BYTES = 16

#: How the programs are run: with nothing of the account's own settings, and nothing but the standard library.
PYTHON = ("python3", "-I", "-S", "-c")

# `digest_by(key)` makes the function from a buffer and the length of what is in it to its digest.
_DIGEST = f"""\
import ctypes, hashlib, os, sys, time
def digest_by(key):
    if not key:
        return lambda block, length: hashlib.sha256(memoryview(block)[:length]).hexdigest()[:{2 * _DIGEST_BYTES}]
    crypto = ctypes.CDLL("libcrypto.so.3")
    crypto.EVP_MAC_fetch.restype = crypto.EVP_MAC_CTX_new.restype = ctypes.c_void_p
    mac = ctypes.c_void_p(crypto.EVP_MAC_fetch(None, b"POLY1305", None))
    if not mac:
        raise OSError("no Poly1305")
    context = ctypes.c_void_p(crypto.EVP_MAC_CTX_new(mac))
    found, size, key_size = ctypes.create_string_buffer(16), ctypes.c_size_t(), ctypes.c_size_t(len(key))
    def digest(block, length):
        given = (ctypes.c_char * len(block)).from_buffer(block)
        if not (crypto.EVP_MAC_init(context, key, key_size, None) == 1
                and crypto.EVP_MAC_update(context, given, ctypes.c_size_t(length)) == 1
                and crypto.EVP_MAC_final(context, found, ctypes.byref(size), ctypes.c_size_t(16)) == 1):
            sys.exit("a digest could not be made")
        return found.raw.hex()
    return digest
"""

#: Fails where Python is too old; writes "keyed" where the digests with a key can be had, by the example of RFC 8439,
#: 2.5.2.
PROBE = f"""\
{_DIGEST}
if sys.version_info < (3, 6):
    sys.exit(1)
key = "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b"
try:
    right = digest_by(bytes.fromhex(key))(bytearray(b"Cryptographic Forum Research Group"), 34)
except (OSError, AttributeError):
    right = ""
print("keyed" if right == "a8061dc1305136c6c22b8baf0c0127a9" else "")
"""

#: argv: the folder, and how many bytes it may read per second (0: any number). stdin: a line with the key in
#: hexadecimal digits, 32 bytes or none, and paths below the folder, each ended by a zero byte. stdout: for each path,
#: in order, a line with the digests of its blocks in hexadecimal digits; an empty line for a file that is empty, or is
#: not there.
DIGESTS = f"""\
{_DIGEST}
os.chdir(sys.argv[1])
limit, total, began = int(sys.argv[2]), 0, time.monotonic()
digest = digest_by(bytes.fromhex(sys.stdin.buffer.readline().decode()))
block = bytearray({BLOCK_BYTES})
for path in sys.stdin.buffer.read().split(b"\\0")[:-1]:
    found = []
    try:
        with open(path, "rb", buffering=0) as file:
            while True:
                length = file.readinto(block)
                if not length:
                    break
                found.append(digest(block, length))
                total += length
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
#: stderr: how many bytes were written so far, in lines, about one for each megabyte.
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
written = told = 0
def tell():
    global told
    told = written
    sys.stderr.write("%d\\n" % written)
    sys.stderr.flush()
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
        if written - told >= 1000000:
            tell()
        if limit:
            time.sleep(max(0, began + written / limit - time.monotonic()))
if psql.wait():
    sys.exit(1)
if written > told:
    tell()
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
