"""Making base backups: by pg_basebackup in its tar format, into a folder that gets its name when all is proven.

`Step.names` begins with the label, the URL of the host that the backup lies on, and the system identifier.
"""

import asyncio
import contextlib
import posixpath
import re
from dataclasses import replace

from pgtandem.apply.certificates import root_certificates
from pgtandem.apply.context import Context
from pgtandem.apply.node_files import system_identifier
from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Backup, BackupKind, Verified
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import REPLICATION_ROLE
from pgtandem.model.plan import Step
from pgtandem.model.topology import HostAddress
from pgtandem.observe.archived import all_archived_wal, observe_archived_wal
from pgtandem.observe.backups import backups_folder
from pgtandem.observe.wal_ways import ssh_home
from pgtandem.plan.wal_sources import node_folder
from pgtandem.ports import Completed, Host
from pgtandem.postgres.base_backups import (
    ABOUT_FILE,
    HELP_FILE,
    MANIFEST_FILE,
    MEMBERS,
    SUMS_FILE,
    VERIFIED_FILE,
    Tar,
    differences,
    parse_about,
    parse_manifest,
    parse_members,
    parse_points,
    part_name,
    render_about,
    render_help,
    render_verified,
    tars_among,
)
from pgtandem.postgres.certificates import VERIFY
from pgtandem.postgres.conninfo import render_conninfo, render_passfile
from pgtandem.postgres.segments import segment_name

#: What lies beside the data directory while it is copied.
BACKUP_MARK = ".pgtandem-backup."
#: A backup may take as long as it takes.
_LONG_SECONDS = 7 * 24 * 3600.0
_ARCHIVE_SECONDS = 120.0
_PROGRESS = re.compile(rb"(\d+)/(\d+) kB")
_TALK = re.compile(r"^pg_basebackup: |^NOTICE: |\d+/\d+ kB")


def _folder(context: Context, system: str, name: str) -> str:
    assert context.topology.archive is not None
    return posixpath.join(backups_folder(context.topology.archive.directory, system), name)


async def take_backup(context: Context, step: Step) -> str:
    """pg_basebackup into the half-made folder; `backup.json` in it says that the data is whole. Raises PgtandemError
    PT-4051."""
    label, url, system, _, parent = step.names
    host, keeper = context.host(step.node), context.world.host(HostAddress(url))
    folder = _folder(context, system, part_name(label))
    await keeper.make_directory(posixpath.dirname(folder))
    await keeper.remove_tree(folder)
    began = await _now(context, step)
    try:
        done = await _copy(context, step, host, folder, parent)
        if done.exit_code:
            raise _failed(step, done)
        about = await _about(context, step, keeper, folder, done.stderr.decode(errors="replace"), began)
        await keeper.sync_tree(folder)
        await keeper.write_file(posixpath.join(folder, ABOUT_FILE), render_about(about).encode())
    except (PgtandemError, asyncio.CancelledError):
        # Its disk space is given back at once; where even that fails, the next run does it.
        with contextlib.suppress(PgtandemError):
            await asyncio.shield(keeper.remove_tree(folder))
        raise
    return f"{about.size_bytes / 1e6:.1f} MB"


#: FOLDER LABEL PROGRAM ...: what the program writes goes to the archive's host, by the node's own key.
_SEND = """
cd "$1" || exit 1
label=$2 made=1
shift 2
status=$(mktemp) || exit 1
trap 'rm -f "$status"' EXIT
{ "$@"; echo $? >"$status"; } | ssh -F ssh_config -S none -- archive "backup $label" >/dev/null
sent=$?
read -r made <"$status"
[ "$sent" = 0 ] || { echo "ssh: error: the archive's host did not take it all" >&2; exit 1; }
exit "$made"
"""


async def _copy(context: Context, step: Step, host: Host, folder: str, parent: str) -> Completed:
    """The replication role's password goes by a file of its own beside the data, which is gone afterwards."""
    node, keeper = context.node(step.node), context.world.host(HostAddress(step.names[1]))
    here = node.host.url == step.names[1]
    beside = node.data_directory + BACKUP_MARK
    passfile, root, manifest = beside + "passfile", beside + "ca.crt", beside + "manifest"
    conninfo: dict[str, str | int] = {
        "host": node.address,
        "port": node.port,
        "user": REPLICATION_ROLE,
        "passfile": passfile,
        "application_name": "pgtandem backup",
        "connect_timeout": 10,
    }
    if (postmaster := await context.postmaster(step.node)) is not None:
        conninfo["port"] = postmaster.port or node.port
    entry = (node.address, int(conninfo["port"]), REPLICATION_ROLE, context.replication_secret())
    argv = [
        context.program(step, "pg_basebackup"),
        # All in one tar, WAL too, is what can be sent on as it comes.
        *(("-D", folder, "-X", "stream") if here else ("-D", "-", "-X", "fetch")),
        *("-F", "tar", "--checkpoint=fast", "--no-sync", "--no-password"),
        *("--label", f"pgtandem {step.names[0]}", "--progress", "--verbose"),
    ]
    if context.topology.postgresql >= 13:
        argv.append("--manifest-checksums=SHA256")
    await host.write_file(passfile, render_passfile([entry]).encode())
    try:
        if context.topology.tls is not None and context.topology.tls.required:
            conninfo |= {"sslmode": VERIFY, "sslrootcert": root}
            await host.write_file(root, root_certificates(context).encode())
        if parent:
            text = await keeper.read_file(posixpath.join(_folder(context, step.names[2], parent), MANIFEST_FILE))
            await host.write_file(manifest, text or b"")
            argv.append(f"--incremental={manifest}")
        argv += ["-d", render_conninfo(conninfo)]
        if not here:
            await keeper.make_directory(folder)
            home = await ssh_home(host)
            key = posixpath.join(home.path, node_folder(context.topology, step.node))
            argv = ["sh", "-c", _SEND, "sh", key, step.names[0], *argv]
        done = await host.run(argv, deadline_seconds=_LONG_SECONDS, on_output=lambda chunk: _tell(context, step, chunk))
        if not here and done.exit_code == 0 and context.topology.postgresql >= 13:
            await _take_manifest_out(keeper, folder)
        return done
    finally:
        for path in (passfile, root, manifest):
            await host.remove_file(path)


async def _take_manifest_out(keeper: Host, folder: str) -> None:
    """To where the next incremental backup, and a restore, look for it."""
    script = f'cd "$1" && tar -xf base.tar {MANIFEST_FILE}'
    done = await keeper.run(["sh", "-c", script, "sh", folder], deadline_seconds=_LONG_SECONDS)
    if done.exit_code:
        why = f"base.tar has no {MANIFEST_FILE}: {done.complaint}"
        raise PgtandemError("PT-4051", "the backup did not come whole", why=why, next_step="pgtandem backup")


def _tell(context: Context, step: Step, chunk: bytes) -> None:
    found = _PROGRESS.findall(chunk)
    if found:
        context.report.step_progress(step, int(found[-1][0]) * 1024, int(found[-1][1]) * 1024)


def _failed(step: Step, done: Completed) -> PgtandemError:
    lines = done.stderr.decode(errors="replace").replace("\r", "\n").splitlines()
    said = [line.strip() for line in lines if line.strip() and not re.search(r"\d+/\d+ kB", line)]
    errors = [line for line in said if any(word in line for word in ("error:", "FATAL", "ERROR", "serve-wal:"))]
    why = "\n".join((errors or said)[-3:]) or f"pg_basebackup ended with exit code {done.exit_code}."
    room = "No space left" in why
    return PgtandemError(
        "PT-4051",
        f"could not take a backup from {step.node}",
        why=f"{why}\nWhat it had copied was removed; older backups are as they were.",
        next_step="make room on the archive's disk, then pgtandem backup" if room else "pgtandem backup",
    )


async def _about(context: Context, step: Step, keeper: Host, folder: str, said: str, began: float) -> Backup:
    """What is known of it now; the tablespaces' folders are those of the source."""
    label, _, system, kind, parent = step.names
    try:
        start, timeline, stop = parse_points(said)
    except ValueError as error:
        raise PgtandemError("PT-4051", f"could not take a backup from {step.node}", why=f"{error}.") from None
    names = await keeper.list_directory(folder) or ()
    links = [tar.part for tar in tars_among(names) if tar.part.isdigit()]
    host, directory = context.host(step.node), context.node(step.node).data_directory
    spaces = [(oid, await host.read_link(posixpath.join(directory, "pg_tblspc", oid)) or "") for oid in links]
    seen = (await context.observer.node(step.node)).control
    used = await keeper.run(["du", "-sk", folder], deadline_seconds=300)
    if await system_identifier(context, step, directory) != system or seen is None:
        raise PgtandemError("PT-4002", f"{step.node} is another cluster's meanwhile", next_step="pgtandem status")
    about = Backup(
        *(label, BackupKind(kind), step.node, context.topology.cluster, system, context.topology.postgresql),
        *(timeline, start, stop, began, await _now(context, step), seen.wal_segment_bytes),
        parent=parent or None,
        tablespaces=tuple(spaces),
        size_bytes=int(used.text.split()[0]) * 1024 if used.exit_code == 0 else 0,
    )
    text = render_help(about, names, posixpath.dirname(posixpath.dirname(folder)))
    await keeper.write_file(posixpath.join(folder, HELP_FILE), text.encode())
    return about


async def _now(context: Context, step: Step) -> float:
    """The time on the primary's host: the one that commits are stamped with."""
    assert step.upstream is not None
    done = await context.host(step.upstream).look(["date", "+%s"])
    try:
        return float(done.text)
    except ValueError:
        return context.world.clock.now()


async def check_backup_wal(context: Context, step: Step) -> str:
    """Ends the segment that the backup ended in, and waits until all that the backup needs stand in the archive.

    Raises PgtandemError PT-4052; the backup is kept as it is, and the next run goes on with it.
    """
    label, _, system = step.names
    assert step.upstream is not None
    backup = await _read_about(context, step, part_name(label))
    size = backup.segment_bytes
    first, last = backup.start_lsn.position // size, (backup.stop_lsn.position - 1) // size
    session = await context.session(step.upstream)
    _, failed_before = await session.archived()
    await session.finish_segment()
    missing, trouble = first, ""

    async def test() -> bool | None:
        nonlocal missing, trouble
        wal = all_archived_wal(await observe_archived_wal(context.topology, context.world, system, size))
        trouble = wal.reason if isinstance(wal, Unknown) else ""
        runs = wal.value.content.timeline(backup.timeline).runs if isinstance(wal, Known) else ()
        while missing <= last and any(low <= missing <= high for low, high in runs):
            missing += 1
        if missing > last:
            return True
        _, failed = await session.archived()
        return False if failed - failed_before >= 2 else None

    if not await context.wait(test, _ARCHIVE_SECONDS, pause=0.05):
        tail = await context.log_tail(step.upstream)
        name = segment_name(backup.timeline, missing, size)
        raise PgtandemError(
            "PT-4052",
            f"WAL segment {name}, which the backup needs, did not get into the archive",
            why=trouble or (f"The log of {step.upstream} says:\n{tail}" if tail else "It is not there."),
            next_step="mend what the log names, then pgtandem backup: it goes on with what was copied",
        )
    count = last - first + 1
    return f"{count} segment{'s' if count > 1 else ''}"


async def verify_backup(context: Context, step: Step) -> str:
    """Reads all of it: the files against their checksums, what is in the tars against the manifest.

    Raises PgtandemError PT-4053 with what is wrong; that is also written down beside the backup.
    """
    label, url, system, state = step.names
    keeper = context.world.host(HostAddress(url))
    folder = _folder(context, system, label if state == "kept" else part_name(label))
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
        done = await keeper.run(argv, deadline_seconds=_LONG_SECONDS)
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
        ["sh", "-c", 'cd "$1" && shift && exec sha256sum -- "$@"', "sh", folder, *files], deadline_seconds=_LONG_SECONDS
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
    part, final = _folder(context, system, part_name(label)), _folder(context, system, label)
    await keeper.sync_tree(part)
    await keeper.rename(part, final)
    return ""


async def remove_backup(context: Context, step: Step) -> str:
    """Each of the names is a host's URL and a folder there. First it loses its name: half removed it is half-made."""
    for url, _, folder in (name.partition(" ") for name in step.names):
        keeper, name = context.world.host(HostAddress(url)), posixpath.basename(folder)
        if not name.startswith("."):
            part = posixpath.join(posixpath.dirname(folder), part_name(name))
            if await keeper.list_directory(folder) is None:
                continue
            await keeper.remove_file(posixpath.join(folder, ABOUT_FILE))
            await keeper.rename(folder, part)
            folder = part
        await keeper.remove_tree(folder)
    return ""


async def _read_about(context: Context, step: Step, name: str) -> Backup:
    """Raises PgtandemError PT-4002 where it is not there any more."""
    keeper = context.world.host(HostAddress(step.names[1]))
    folder = _folder(context, step.names[2], name)
    text = await keeper.read_file(posixpath.join(folder, ABOUT_FILE))
    try:
        return replace(parse_about((text or b"").decode(errors="replace")), folder=folder)
    except ValueError as error:
        why = f"{folder}/{ABOUT_FILE}: {error}"
        raise PgtandemError(
            "PT-4002", "the backup is not there any more", why=why, next_step="pgtandem backup"
        ) from None
