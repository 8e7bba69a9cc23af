"""Proving base backups: their WAL is in the archive, their content is what the server sent; keeping and removing them.

`Step.names` begins with the label, the URL of the host that the backup lies on, and the system identifier.
"""

import posixpath
from dataclasses import replace

from pgtandem.apply.archive_trouble import why_not_archived
from pgtandem.apply.backup_folders import LONG_SECONDS, backup_folder
from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Backup, Verified
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.plan import Step
from pgtandem.model.topology import HostAddress
from pgtandem.observe.archived import all_archived_wal, observe_archived_wal
from pgtandem.observe.readers import observe_readers
from pgtandem.ports import Host
from pgtandem.postgres.base_backups import (
    ABOUT_FILE,
    MANIFEST_FILE,
    MEMBERS,
    SUMS_FILE,
    VERIFIED_FILE,
    Tar,
    differences,
    parse_about,
    parse_manifest,
    parse_members,
    part_name,
    render_verified,
    tars_among,
)
from pgtandem.postgres.segments import segment_name

_ARCHIVE_SECONDS = 120.0


async def check_backup_wal(context: Context, step: Step) -> str:
    """Ends the segment that the backup ended in, and waits until all that the backup needs stand in the archive.

    Raises PgtandemError PT-4052; the backup is kept as it is, and the next run goes on with it. Where that WAL was
    archived before, and is not here (the archive is a new one), it never comes: then the next run begins anew.
    """
    label, _, system = step.names
    assert step.upstream is not None
    backup = await _read_about(context, step, part_name(label))
    size = backup.segment_bytes
    first, last = backup.start_lsn.position // size, (backup.stop_lsn.position - 1) // size
    session = await context.session(step.upstream)
    _, failed_before = await session.archived()
    said_before = await context.log_lines(step.upstream)
    await session.finish_segment()
    missing, trouble, gone = first, "", False

    async def test() -> bool | None:
        nonlocal missing, trouble, gone
        archived, _ = await session.archived()  # before the look: what was archived by then is to be there
        wal = all_archived_wal(await observe_archived_wal(context.topology, context.world, system, size))
        trouble = wal.reason if isinstance(wal, Unknown) else ""
        runs = wal.value.content.timeline(backup.timeline).runs if isinstance(wal, Known) else ()
        while missing <= last and any(low <= missing <= high for low, high in runs):
            missing += 1
        if missing > last:
            return True
        if isinstance(wal, Known) and archived and archived[:24] >= segment_name(backup.timeline, missing, size):
            gone = archived[:8] == f"{backup.timeline:08X}"
            return False if gone else None
        _, failed = await session.archived()
        return False if failed - failed_before >= 2 else None

    if not await context.wait(test, _ARCHIVE_SECONDS, pause=0.05):
        name = segment_name(backup.timeline, missing, size)
        if gone:
            await context.world.host(HostAddress(step.names[1])).remove_file(posixpath.join(backup.folder, ABOUT_FILE))
            raise _never_comes(name, step)
        _, failed = await session.archived()
        failing = bool(trouble) or failed > failed_before
        why, does = await why_not_archived(context, step.upstream, said_before, failed=failing)
        raise PgtandemError(
            "PT-4052",
            f"WAL segment {name}, which the backup needs, did not get into the archive",
            why=trouble or why or "It is not there.",
            next_step=f"{does}. Then pgtandem backup: it goes on with what was copied",
        )
    count = last - first + 1
    return f"{count} segment{'s' if count > 1 else ''}"


def _never_comes(name: str, step: Step) -> PgtandemError:
    return PgtandemError(
        "PT-4052",
        f"WAL segment {name}, which the backup needs, is not in the archive",
        why=f"{step.upstream} archived it before, and not here: the archive is a new one, or it was removed there. A "
        "standby's backup begins with WAL of its last checkpoint. The next one begins anew.",
        next_step=f"pgtandem backup --full --from {step.upstream}   (begins with WAL of now)",
    )


async def verify_backup(context: Context, step: Step) -> str:
    """Reads all of it: the files against their checksums, what is in the tars against the manifest.

    Raises PgtandemError PT-4053 with what is wrong; that is also written down beside the backup.
    """
    label, url, system, state = step.names
    keeper = context.world.host(HostAddress(url))
    folder = backup_folder(context, system, label if state == "kept" else part_name(label))
    remark, trouble = "", ""
    try:
        remark = await _check(context, step, keeper, folder)
    except ValueError as error:
        trouble = str(error)
    verified = Verified(context.world.clock.now(), trouble)
    await keeper.write_file(posixpath.join(folder, VERIFIED_FILE), render_verified(verified).encode())
    if trouble:
        raise PgtandemError(
            "PT-4053",
            f"backup {label} is not what was backed up",
            why=f"{trouble}. The disk that it lies on, or the server that it came from, may be broken.",
            next_step="pgtandem backup --full   (takes a new one; look at that disk)",
        )
    return remark


async def _check(context: Context, step: Step, keeper: Host, folder: str) -> str:
    """What was checked, in words. Raises ValueError with what is wrong."""
    names = await keeper.list_directory(folder)
    if names is None:
        raise ValueError(f"{folder} is not there any more")
    tars = tars_among(names)
    if not any(tar.part == "base" for tar in tars):
        raise ValueError("there is no base.tar")
    await _check_sums(keeper, folder, names, tars)
    found: dict[str, str] = {}
    for tar in tars:
        argv = ["sh", "-c", MEMBERS, "sh", folder, tar.name, tar.unpack]
        done = await keeper.run(argv, deadline_seconds=LONG_SECONDS)
        try:
            found |= parse_members(done.text, tar.prefix)
        except ValueError as error:
            raise ValueError(
                f"{tar.name}: {error} ({done.complaint})" if done.stderr else f"{tar.name}: {error}"
            ) from None
    if "global/pg_control" not in found or "backup_label" not in found:
        raise ValueError("base.tar has no pg_control or no backup_label")
    text = await keeper.read_file(posixpath.join(folder, MANIFEST_FILE))
    if text is None:
        if context.topology.postgresql >= 13:
            raise ValueError(f"there is no {MANIFEST_FILE}")
        return f"{len(found)} files can be read (no manifest before 13)"
    try:
        wanted = parse_manifest(text.decode(errors="replace"))
    except (ValueError, KeyError) as error:
        raise ValueError(f"{MANIFEST_FILE}: {error}") from None
    wrong = differences(wanted, found)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError("; ".join(wrong[:3]) + more)
    return f"{len(wanted)} files are as the server sent them"


async def _check_sums(keeper: Host, folder: str, names: tuple[str, ...], tars: tuple[Tar, ...]) -> None:
    """The files as they were when they were first checked; written down now where they were not yet."""
    files = [tar.name for tar in tars] + [name for name in (MANIFEST_FILE,) if name in names]
    path = posixpath.join(folder, SUMS_FILE)
    done = await keeper.run(
        ["sh", "-c", 'cd "$1" && shift && exec sha256sum -- "$@"', "sh", folder, *files], deadline_seconds=LONG_SECONDS
    )
    if done.exit_code:
        raise ValueError(f"it cannot be read: {done.complaint}")
    before = await keeper.read_file(path)
    if before is None:
        await keeper.write_file(path, done.stdout)
        return
    now, then = set(done.text.splitlines()), before.decode(errors="replace").splitlines()
    changed = [line.partition("  ")[2] for line in then if line not in now]
    if changed:
        raise ValueError(f"{', '.join(changed)} changed since it was written")


async def keep_backup(context: Context, step: Step) -> str:
    """Everything durable, and then its name."""
    label, url, system = step.names
    keeper = context.world.host(HostAddress(url))
    part, final = backup_folder(context, system, part_name(label)), backup_folder(context, system, label)
    await keeper.sync_tree(part)
    await keeper.rename(part, final)
    return ""


async def remove_backup(context: Context, step: Step) -> str:
    """Each of the names is a host's URL and a folder there. First it loses its name: half removed it is half-made.

    Raises PgtandemError PT-4002 where somebody restores from one since a moment ago.
    """
    for url, _, folder in (name.partition(" ") for name in step.names):
        keeper, name = context.world.host(HostAddress(url)), posixpath.basename(folder)
        if not name.startswith("."):
            part = posixpath.join(posixpath.dirname(folder), part_name(name))
            if await keeper.list_directory(folder) is None:
                continue
            await _refuse_while_read(keeper, posixpath.dirname(folder), name)
            await keeper.remove_file(posixpath.join(folder, ABOUT_FILE))
            await keeper.rename(folder, part)
            folder = part
        await keeper.remove_tree(folder)
    return ""


async def _refuse_while_read(keeper: Host, folder: str, label: str) -> None:
    readers = await observe_readers(keeper, folder, await keeper.list_directory(folder) or ())
    if who := next((reader.who for reader in readers if label in reader.labels), None):
        raise PgtandemError(
            "PT-4002",
            f"backup {label} is restored from",
            why=f"Since a moment ago {who} reads it and the WAL behind it. It stays.",
            next_step="run the same command again: it looks at the backups anew",
        )


async def _read_about(context: Context, step: Step, name: str) -> Backup:
    """Raises PgtandemError PT-4002 where it is not there any more."""
    keeper = context.world.host(HostAddress(step.names[1]))
    folder = backup_folder(context, step.names[2], name)
    text = await keeper.read_file(posixpath.join(folder, ABOUT_FILE))
    try:
        return replace(parse_about((text or b"").decode(errors="replace")), folder=folder)
    except ValueError as error:
        why = f"{folder}/{ABOUT_FILE}: {error}"
        raise PgtandemError(
            "PT-4002", "the backup is not there any more", why=why, next_step="pgtandem backup"
        ) from None
