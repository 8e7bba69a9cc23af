"""Small programs in Python for a host that has a half-made copy: taking it over, leaving of it what is wanted, putting
blocks of other folders into it, and making its files the same as those of another folder.

A half-made copy is named by nobody else, and holds nothing that is not the primary's too; so what an earlier run left
is gone on with where it is, under the name of this run. They need nothing but the standard library of Python 3.6.
"""

from collections.abc import Iterable

from pgtandem.postgres.block_programs import Block

#: How TAKE ends where the folder is not to be had; it has its name then.
NOT_TAKEN = 3

#: MAKE_SAME reads so much of both files at once: more does not stay in a processor's own memory.
_SAME_BYTES = 256 * 1024

#: argv: the folder, and the name that it gets. Programs of the ended run that still write there are ended: they name
#: the folder on their command lines. Where others write, it is left alone. What such a program is about to open by the
#: old name is not there any more; but cp (9.1 and later) keeps the folder open, and makes its next file there, whatever
#: its name is. Two looks must find nobody: an open that was under way at the rename is seen by the second.
TAKE = f"""\
import os, signal, sys, time
half, name = sys.argv[1:3]
def writers(place):
    ours, others = [], []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in (os.getpid(), os.getppid()):
            continue
        process = "/proc/" + entry
        try:
            with open(process + "/cmdline", "rb") as file:
                named = os.fsencode(half) in file.read()
            here = (os.readlink(process + "/cwd") + "/").startswith(place + "/") and named
            for number in os.listdir(process + "/fd"):
                if not (os.readlink(process + "/fd/" + number) + "/").startswith(place + "/"):
                    continue
                with open(process + "/fdinfo/" + number) as file:
                    flags = [line.split()[1] for line in file if line.startswith("flags:")]
                here = here or any(int(found, 8) & os.O_ACCMODE != os.O_RDONLY for found in flags)
                here = here or (named and os.path.isdir(process + "/fd/" + number))
        except OSError:
            continue
        if here:
            (ours if named else others).append(int(entry))
    return ours, others
if not os.path.isdir("/proc/self/fdinfo") or os.path.islink(half) or os.path.lexists(name):
    sys.exit({NOT_TAKEN})
os.rename(half, name)
place, until, alone = os.path.realpath(name), time.monotonic() + 10, 0
while True:
    ours, others = writers(place)
    if others or (ours and time.monotonic() > until):
        os.rename(name, half)
        sys.exit({NOT_TAKEN})
    alone = 0 if ours else alone + 1
    if alone == 2:
        break
    for pid in ours:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    time.sleep(0.05)
"""

#: argv: the folder, the umask. stdin: each ended by a zero byte, "d PATH" for every folder and "f PATH" for every file
#: that may stay. All else is removed, the control file first, and also what is no plain file of its own: a link would
#: lead what is written into something that is in use.
KEEP_ONLY = """\
import os, shutil, stat, sys
os.chdir(sys.argv[1])
umask = int(sys.argv[2], 8)
folders, files = set(), set()
for entry in sys.stdin.buffer.read().split(b"\\0")[:-1]:
    (folders if entry[:1] == b"d" else files).add(entry[2:])
if not os.path.islink("global") and os.path.lexists("global/pg_control"):
    os.unlink("global/pg_control")
for at, below, names in os.walk(b".", topdown=False):
    for entry in below + names:
        path = os.path.normpath(os.path.join(at, entry))
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            if path not in folders:
                shutil.rmtree(path)
            else:
                os.chmod(path, 0o777 & ~umask)
        elif path not in files or not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.unlink(path)
        else:
            os.chmod(path, (found.st_mode | 0o600) & 0o666 & ~umask)
"""

#: argv: the folder that has the blocks, the one that gets them, how many bytes may be written per second (0: any
#: number), the umask. stdin: each ended by a zero byte, "OFFSET SIZE PATH". stderr: how many bytes were written so far.
LAY = """\
import os, sys, time
source, target, limit, began, written = sys.argv[1], sys.argv[2], int(sys.argv[3]), time.monotonic(), 0
os.umask(int(sys.argv[4], 8))
for entry in sys.stdin.buffer.read().split(b"\\0")[:-1]:
    offset, size, path = entry.split(b" ", 2)
    offset, size = int(offset), int(size)
    with open(os.path.join(os.fsencode(source), path), "rb", buffering=0) as file:
        content = os.pread(file.fileno(), size, offset)
    number = os.open(os.path.join(os.fsencode(target), path), os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        at = 0
        while at < len(content):
            at += os.pwrite(number, content[at:], offset + at)
    finally:
        os.close(number)
    written += len(content)
    if limit:
        time.sleep(max(0, began + written / limit - time.monotonic()))
"""

#: argv: the folder that is right, the one whose files are to be the same, from which megabyte on, how many of them (0:
#: to the end of the file), and paths below the folders. Both are read, and only what differs is written. Each file gets
#: its mode, and one that is read to its end its size; one that is gone is removed. stdout: how many bytes were written.
MAKE_SAME = f"""\
import os, stat, sys
source, target, first, count = *sys.argv[1:3], *map(int, sys.argv[3:5])
wanted, found, written = bytearray({_SAME_BYTES}), bytearray({_SAME_BYTES}), 0
def opened(folder, path, how):
    return os.fdopen(os.open(os.path.join(folder, path), how | os.O_NOFOLLOW), "rb", 0)
def make_same(right, here):
    global written
    at, end = first << 20, (first + count) << 20
    right.seek(at)
    while at < end or not count:
        length = right.readinto(wanted)
        if not length:
            break
        here.seek(at)
        same = here.readinto(found) >= length
        if not (same and (wanted == found if length == len(wanted) else wanted[:length] == found[:length])):
            done = 0
            while done < length:
                done += os.pwrite(here.fileno(), memoryview(wanted)[done:length], at + done)
            written += length
        at += length
    if not count:
        os.ftruncate(here.fileno(), at)
    os.fchmod(here.fileno(), stat.S_IMODE(os.fstat(right.fileno()).st_mode))
for path in sys.argv[5:]:
    try:
        with opened(source, path, os.O_RDONLY) as right, opened(target, path, os.O_RDWR) as here:
            make_same(right, here)
    except FileNotFoundError:
        if os.path.lexists(os.path.join(target, path)):
            os.unlink(os.path.join(target, path))
    except OSError as error:
        sys.exit("%s: %s" % (path, error.strerror))
print(written)
"""


def render_kept(folders: Iterable[str], files: Iterable[str]) -> bytes:
    """As KEEP_ONLY reads it."""
    entries = [*(f"d {path}" for path in folders), *(f"f {path}" for path in files)]
    return b"".join(entry.encode("utf-8", "surrogateescape") + b"\0" for entry in entries)


def render_laid(blocks: Iterable[Block]) -> bytes:
    """As LAY reads it."""
    return b"".join(f"{block.offset} {block.size} {block.path}".encode() + b"\0" for block in blocks)
