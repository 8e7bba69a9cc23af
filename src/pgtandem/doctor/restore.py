"""Recovery: would a server that starts now find its WAL, follow the right timeline, and stay what it is?"""

import re
from collections.abc import Iterator

from pgtandem.doctor.look import Look, taken_out
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.postgres.conf import RECOVERY_FILE
from pgtandem.postgres.versions import has_standby_signal

_HIDES = re.compile(r"(?:;|\|\|)\s*(?:/(?:usr/)?bin/)?(?:true|:|exit\s+0)\s*;?\s*$|^\s*(?:/(?:usr/)?bin/)?true\s*$")
_TARGETS = (
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
)


@rule(
    "RST01",
    Severity.HIGH,
    "a standby has no restore_command although there is an archive",
    why="Once its upstream has recycled the WAL that it needs, such a standby can only be copied anew. With a "
    "restore_command it fetches the missing segments from the archive by itself.",
    fix="pgtandem apply",
)
def no_restore_command(look: Look) -> Iterator[Seen]:
    archived = look.topology.archives or any(look.archives(name) for name, _ in look.primaries())
    for name, _ in look.standbys():
        if archived and look.recovery_seen(name) and not look.recovery(name, "restore_command"):
            yield Seen(name, "restore_command = ''", look.where(name, "restore_command"))


@rule(
    "RST02",
    Severity.CRITICAL,
    "the restore command says success whatever happened",
    why="A server that is told success for a segment that is not there ends its recovery early, or stops with a "
    "complaint about the file. A restore then comes up without the last transactions, and nobody is told.",
    fix="pgtandem apply",
)
def restore_hides_errors(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        command = look.recovery(name, "restore_command")
        if _HIDES.search(command):
            yield Seen(name, f"restore_command = {command}", look.where(name, "restore_command"))


@rule(
    "RST03",
    Severity.CRITICAL,
    "a standby does not follow the latest timeline",
    why="After a promotion elsewhere this standby stays on the old timeline and stops streaming. Up to 11 that is the "
    "default, so that leaving the setting out is the same mistake.",
    fix="pgtandem apply",
)
def not_latest(look: Look) -> Iterator[Seen]:
    for name, server in look.standbys():
        value = look.recovery(name, "recovery_target_timeline")
        if not look.recovery_seen(name):
            continue
        if value != "latest" and (value or not has_standby_signal(server.major)):
            where = look.where(name, "recovery_target_timeline")
            fix = taken_out(look, name, "recovery_target_timeline") if value and where else ""
            yield Seen(name, f"recovery_target_timeline = {value or 'current, the default'}", where, fix)


@rule(
    "RST04",
    Severity.MEDIUM,
    "every segment is fetched by a connection of its own",
    why="scp per segment was measured at 1.7 segments a second, a fifth of what streaming brings. A standby that falls "
    "behind a busy primary may never catch up that way.",
    fix="pgtandem apply",
)
def scp_per_segment(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        command = look.recovery(name, "restore_command")
        if re.search(r"(?:^|[\s/;&|(])(?:scp|rsync\s.*:|ssh)\s", command):
            yield Seen(name, f"restore_command = {command}", look.where(name, "restore_command"))


@rule(
    "RST05",
    Severity.HIGH,
    "a recovery target of an earlier restore is still set",
    why="The next time this server starts in recovery, it stops at that old target and pauses or promotes itself. As a "
    "standby it would never catch up again.",
    fix="take the recovery target out of the configuration",
)
def target_left(look: Look) -> Iterator[Seen]:
    for name, _ in look.servers():
        for setting in _TARGETS:
            value = look.recovery(name, setting)
            if value:
                fix = taken_out(look, name, setting)
                yield Seen(name, f"{setting} = {value}", look.where(name, setting), fix)


@rule(
    "RST07",
    Severity.HIGH,
    "there is a recovery.conf, which this version refuses",
    why="From 12 on a server with recovery.conf in its data directory does not start. It runs now because the file "
    "came after its start; the next one fails.",
    fix="remove recovery.conf from the data directory; its settings belong into the configuration",
    by_sql=False,
)
def recovery_conf(look: Look) -> Iterator[Seen]:
    for name, seen in look.observed.nodes.items():
        data = seen.directory
        if data and data.files.get(RECOVERY_FILE) is not None and has_standby_signal(look.topology.postgresql):
            directory = look.topology.node(name).data_directory
            yield Seen(name, f"{directory}/{RECOVERY_FILE}", fix=f"rm {directory}/{RECOVERY_FILE}")


@rule(
    "RST08",
    Severity.CRITICAL,
    "a node would not start as the standby that it should be",
    why="Without standby.signal a data directory starts as a primary of its own, and writes go to two places. With "
    "recovery.signal beside it, standby.signal wins, and the restore that was meant does not happen.",
    fix="pgtandem apply",
    by_sql=False,
)
def signals(look: Look) -> Iterator[Seen]:
    primary = look.primary()
    for name, seen in look.observed.nodes.items():
        data = seen.directory
        if data is None:
            continue
        if data.standby_signal and data.recovery_signal:
            yield Seen(
                name, "standby.signal and recovery.signal are both there", fix="remove the one that is not meant"
            )
        elif primary and name != primary[0] and not data.standby_signal and not _runs_as_primary(look, name):
            state = "it runs" if seen.running else "it does not run now"
            yield Seen(name, f"{primary[0]} is the primary, {name} has no standby.signal; {state}")


def _runs_as_primary(look: Look, name: str) -> bool:
    return any(name == other for other, _ in look.primaries())


@rule(
    "RST09",
    Severity.CRITICAL,
    "backup_label lies in the data directory of a server that runs",
    why="If this server crashes, it begins recovery at the place that the label names, not at its last checkpoint. It "
    "then refuses to start or, where somebody removes the wrong file, starts with damaged data.",
    fix="remove backup_label while the server runs; on a copy that never started it must stay",
    by_sql=False,
)
def stale_label(look: Look) -> Iterator[Seen]:
    for name, server in look.servers():
        examination, data = look.examination(name), look.observed.nodes[name].directory
        open_backup = examination is None or examination.exclusive_backup
        if data and data.backup_label and not server.in_recovery and not open_backup:
            directory = look.topology.node(name).data_directory
            yield Seen(name, f"{directory}/backup_label", fix=f"rm {directory}/backup_label")


@rule(
    "RST12",
    Severity.HIGH,
    "an exclusive backup was begun and not ended",
    why="While it is open, the next base backup of that kind is refused, and after a crash the server does not start "
    "by itself. Somebody's backup script ended half way.",
    fix='pgtandem psql -c "SELECT pg_stop_backup()"',
)
def backup_open(look: Look) -> Iterator[Seen]:
    for name, _, examination in look.examinations():
        if examination.exclusive_backup:
            yield Seen(name, "pg_is_in_backup() is true")
