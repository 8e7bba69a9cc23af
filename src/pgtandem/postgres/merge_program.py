"""A program in Python that merges what was received of a new copy into the old data directory beside it, in place.

Beside the data directory stands a folder that is whole and durable: `new/` has the blocks that differ, at their own
places in files that are otherwise empty, and whole files; `merge.json` says what the directory is to be. The program
moves the data directory into it as `data/`, and back under its own name when all is done: so it is either not there or
whole, for everybody. Everything in between can be done again from the beginning, and needs nothing but this folder.
"""

import json
from collections.abc import Iterable, Mapping

from pgtandem.model.value import dataclass
from pgtandem.postgres.block_programs import Block

#: In that folder.
MANIFEST_FILE, RECEIVED, MERGING = "merge.json", "new", "data"

#: How the program ends where the directory is not what it was when it was compared: nothing has happened to it then.
NOT_BEGUN = 3

# What changes whenever a server runs on a data directory.
_STAMP = """\
import hashlib, os, sys
def stamp_of(folder):
    path = os.path.join(folder, "global/pg_control")
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        return "%d %d %s" % (found.st_ino, found.st_mtime_ns, hashlib.sha256(file.read()).hexdigest())
"""

#: argv: a data directory. stdout: its stamp.
STAMP = f"{_STAMP}print(stamp_of(sys.argv[1]))\n"

#: argv: the folder, the data directory, and "begin" where that one is still in its place. The server's own lock file
#: keeps servers out while the directory has its name, a lock in the folder other runs of this program.
MERGE = f"""\
{_STAMP}
import fcntl, json, shutil, subprocess
folder, final, how = sys.argv[1:4]
data, new = os.path.join(folder, "{MERGING}"), os.path.join(folder, "{RECEIVED}")
NOTE = "pgtandem merges"
sys.excepthook = lambda kind, error, trace: print("%s: %s" % (kind.__name__, error), file=sys.stderr)

def not_begun(why):
    print(why, file=sys.stderr)
    sys.exit({NOT_BEGUN})

def sync_folder(path):
    number = os.open(path, os.O_RDONLY)
    os.fsync(number)
    os.close(number)

def lives(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True

def keep_servers_out(place):
    path = os.path.join(place, "postmaster.pid")
    try:
        with open(path) as file:
            lines = file.read().splitlines() + ["", ""]
        if lines[1] != NOTE and lines[0].strip().isdigit() and lives(int(lines[0])):
            not_begun("process %s runs on it" % lines[0].strip())
        os.unlink(path)
    except FileNotFoundError:
        pass
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(number, ("%d\\n%s\\n" % (os.getpid(), NOTE)).encode())
    os.close(number)

def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)

def put_whole(path):
    source = os.path.join(new, path)
    remove(path)
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
        shutil.copymode(source, path)

def put_blocks(path, parts):
    with open(os.path.join(new, path), "rb") as source, open(path, "r+b") as target:
        for offset, size in parts:
            source.seek(offset)
            target.seek(offset)
            while size:
                content = source.read(min(size, 1 << 20))
                if not content:
                    sys.exit("%s is not whole in %s" % (path, new))
                target.write(content)
                size -= len(content)

def grown(place, parts):
    more = 0
    for path in parts:
        size = os.path.getsize(os.path.join(place, path))
        more += sum(max(offset + length - max(size, offset), 0) for offset, length in parts[path])
    return more

try:
    lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with open(os.path.join(folder, "{MANIFEST_FILE}")) as file:
        wanted = json.load(file)
except FileNotFoundError:
    sys.exit("there is nothing to merge any more")
os.umask(wanted["umask"])
if how == "begin" and not os.path.lexists(data):
    if os.path.islink(final) or os.stat(final).st_dev != os.stat(folder).st_dev:
        not_begun("it is on another file system than the folder that it lies in")
    here = os.statvfs(folder)
    if here.f_bavail * here.f_frsize < grown(final, wanted["parts"]):
        not_begun("No space left on device for what the files have grown by")
    keep_servers_out(final)
    if stamp_of(final) != wanted["stamp"]:
        os.unlink(os.path.join(final, "postmaster.pid"))
        not_begun("its server has run meanwhile")
    os.rename(final, data)
    sync_folder(os.path.dirname(final))
    sync_folder(folder)
elif not os.path.lexists(data):
    sys.exit("it is merged already")
elif os.path.lexists(final) and os.listdir(final):
    sys.exit("another data directory is in its place")
else:
    keep_servers_out(data)
os.chdir(data)
# From here on nobody can start it, under whatever name; the last thing that is written is this file.
remove("global/pg_control")
sync_folder("global")
folders, files = set(wanted["folders"]), wanted["files"]
for at, below, names in os.walk(".", topdown=False):
    for name in below + names:
        path = os.path.normpath(os.path.join(at, name))
        folder_here = os.path.isdir(path) and not os.path.islink(path)
        if path != "postmaster.pid" and path not in (folders if folder_here else files):
            remove(path)
for path in wanted["folders"]:
    os.makedirs(path, exist_ok=True)
for path in wanted["whole"]:
    put_whole(path)
for path, parts in wanted["parts"].items():
    put_blocks(path, parts)
for path, size in files.items():
    if os.path.getsize(path) != size:
        os.truncate(path, size)
if subprocess.call(["sync", "-f", "."]):
    sys.exit("it could not be made durable")
shutil.copyfile(os.path.join(new, "global/pg_control"), "global/pg_control.new")
number = os.open("global/pg_control.new", os.O_RDWR)
os.fsync(number)
os.close(number)
os.rename("global/pg_control.new", "global/pg_control")
sync_folder("global")
os.unlink("postmaster.pid")
sync_folder(".")
os.rename(data, final)
sync_folder(os.path.dirname(final))
sync_folder(folder)
"""


@dataclass(frozen=True, slots=True)
class Merge:
    """What a data directory is to be: its folders, parents first; the size of each file but the control file; of the
    files that have to be changed, whole ones and parts."""

    stamp: str
    folders: tuple[str, ...]
    files: Mapping[str, int]
    whole: tuple[str, ...]
    blocks: tuple[Block, ...]
    umask: int = 0o077


def render_merge(merge: Merge) -> str:
    """As MERGE reads it."""
    return json.dumps(
        {
            "version": 1,
            "umask": merge.umask,
            "stamp": merge.stamp,
            "folders": merge.folders,
            "files": dict(merge.files),
            "whole": merge.whole,
            "parts": _parts(merge.blocks),
        }
    )


def _parts(blocks: Iterable[Block]) -> dict[str, list[tuple[int, int]]]:
    """By path the offset and size of what has to be written; blocks that follow each other are one."""
    parts: dict[str, list[tuple[int, int]]] = {}
    for block in blocks:
        found = parts.setdefault(block.path, [])
        if found and sum(found[-1]) == block.offset:
            found[-1] = (found[-1][0], found[-1][1] + block.size)
        else:
            found.append((block.offset, block.size))
    return parts
