"""A backup's files unpacked: held, while they come, against what they were when the backup was verified."""

import posixpath
import re

from pgtandem.apply.backup_folders import LONG_SECONDS
from pgtandem.apply.context import Context
from pgtandem.apply.unreadable import again, kept_from_reading
from pgtandem.errors import PgtandemError, is_full
from pgtandem.model.backup import Backup
from pgtandem.model.restore import RestoreOrder
from pgtandem.observe.wal_ways import used_folder
from pgtandem.ports import Host
from pgtandem.postgres.base_backups import ABOUT_FILE, MANIFEST_FILE, SUMS_FILE, Tar, parse_sums, tars_among
from pgtandem.postgres.wal_serve import MARK

#: SUM UNPACK TARGET ...: unpacks what `give` writes. A tar that was cut between two members is a tar, and unpacks
#: without a complaint: its SHA-256 tells, and where none was noted ("") the two empty blocks at the end, of one that is
#: not compressed. What is unpacked by then, nobody uses. That unpacking failed is told through a pipe, and not by a
#: file: a disk that is full, of files too, has no room for one.
UNPACK = """
sum=$1 unpack=$2 to=$3
shift 3
by_python='import hashlib, sys
digest = hashlib.sha256()
while chunk := sys.stdin.buffer.read(1 << 20):
    digest.update(chunk)
print(digest.hexdigest())'
add_up() {
    if [ -z "$sum" ]; then
        if [ -z "$unpack" ]; then tail -c 1024 | tr -d '\\000' | wc -c | tr -d ' '; else cat >/dev/null && echo 0; fi
    elif python3 -I -S -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
        python3 -I -S -c "$by_python"
    else
        sha256sum | cut -c 1-64
    fi
}
take_out() { tar -x -f - -C "$to" && cat >/dev/null || echo torn >&5; }
put() { if [ -n "$unpack" ]; then { $unpack || echo torn >&5; } | take_out; else take_out; fi; }
found=$({ { give "$@" | tee /dev/fd/4 | put >&2; } 4>&1 | add_up; } 5>&1)
case $found in *torn*) echo "it could not be unpacked to its end" >&2; exit 1 ;; esac
[ "$found" = "${sum:-0}" ] || { echo "what came is not what it was when it was verified" >&2; exit 1; }
"""
#: FOLDER FILE
_GIVE = """
give() {
    set -- "$1/$2"
    [ -r "$1" ] || [ ! -e "$1" ] || echo "$1 cannot be read by $(id -un)" >&2
    cat "$1"
}
"""
#: KEY-FOLDER LABEL FILE MARK: the same of a backup on the archive's host, by the key of a node. What ssh says of a host
#: that is silent it does not say as an error.
FETCH = """
give() {
    cd "$1" || exit 1
    { ssh -F ssh_config -S none -- archive "fetch $2 $3" || echo "ssh ended with exit code $?" >&2; } | {
        while IFS= read -r line; do
            [ "$line" != "$4" ] || exec cat
        done
        echo "the archive's host did not give it out" >&2
        exit 1
    }
}
"""


async def unpack(context: Context, host: Host, order: RestoreOrder, backup: Backup, target: str) -> None:
    """One backup of the chain: its tars to their places below `target`. Raises PgtandemError PT-4055."""
    keeper = context.world.host(backup.host)
    tars = tars_among(await keeper.list_directory(backup.folder) or ())
    if not any(tar.part == "base" for tar in tars):
        raise not_unpacked(order, f"{backup.folder} has no base.tar any more.")
    noted = await keeper.read_file(posixpath.join(backup.folder, SUMS_FILE)) or b""
    sums = parse_sums(noted.decode(errors="replace"))
    for tar in tars_among(tuple(sums)):
        if tar not in tars:
            raise not_unpacked(order, f"{backup.folder} has no {tar.name} any more.")
    await host.make_directory(target)
    spaces = dict(order.spaces)
    for tar in tars:
        into = spaces.get(tar.part) if tar.part.isdigit() else posixpath.join(target, tar.prefix).rstrip("/")
        if into is None:
            raise not_unpacked(order, f"{tar.name} is of a tablespace that {backup.folder}/{ABOUT_FILE} does not name.")
        await host.make_directory(into)
        script, *words = await _way_to(context, host, order, backup, tar)
        argv = ["sh", "-c", script + UNPACK, "sh", sums.get(tar.name, ""), tar.unpack, into, *words]
        done = await host.run(argv, deadline_seconds=LONG_SECONDS)
        if done.exit_code and (kept_from := kept_from_reading(done.stderr.decode(errors="replace"))):
            failure = not_unpacked(order, kept_from.why)
            failure.next_step = kept_from.next_step(backup.host, again(order))
            raise failure
        if done.exit_code and lost_on_the_way(done.stderr.decode(errors="replace")):
            failure = not_unpacked(order, f"The connection to the backup's host was lost while {tar.name} came.")
            failure.next_step = f"make {backup.host.url} reachable, then {again(order)}"
            raise failure
        if done.exit_code:
            raise not_unpacked(order, f"{tar.name}: {done.complaint}")


def lost_on_the_way(said: str) -> bool:
    """Whether ssh came to a bad end, and not since tar had done so before: that says what it cannot do."""
    return "ssh ended with exit code 255" in said and not re.search(
        r"cannot|No space|not be opened", said, re.IGNORECASE
    )


async def bring_manifests(context: Context, host: Host, order: RestoreOrder, folders: list[str]) -> None:
    """pg_combinebackup reads from them that the backups belong together."""
    for backup, folder in zip(order.chain, folders, strict=True):
        text = await context.world.host(backup.host).read_file(posixpath.join(backup.folder, MANIFEST_FILE))
        await host.write_file(posixpath.join(folder, MANIFEST_FILE), text or b"")


async def _way_to(context: Context, host: Host, order: RestoreOrder, backup: Backup, tar: Tar) -> tuple[str, ...]:
    if backup.host == order.host:
        return (_GIVE, backup.folder, tar.name)
    folder = await used_folder(host, context.topology, order.like, backup.system_identifier)
    return (FETCH, folder, backup.label, tar.name, MARK)


def not_unpacked(order: RestoreOrder, why: str) -> PgtandemError:
    return PgtandemError(
        "PT-4055",
        f"could not unpack backup {order.backup.label} to {order.place}",
        why=f"{why}\nWhat was unpacked was removed again.",
        next_step="make room there, or name another folder: --into DIR" if is_full(why) else "pgtandem backup verify",
    )
