"""A data directory and its server process, as files tell it."""

import asyncio
import json
import posixpath
from collections.abc import Sequence

from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.names import REPLICATION_ROLE, NodeName, Secret
from pgtandem.model.observed import ControlData, DataDirectory, Marker, Postmaster, PostmasterState
from pgtandem.model.topology import Topology
from pgtandem.observe.places import places_outside
from pgtandem.plan.desired import MARKER_FILE, PASSFILE
from pgtandem.plan.promotion import PROMOTION_FILE, parse_promotion
from pgtandem.plan.recovery import RESTORE_FILE
from pgtandem.ports import Host, HostFailure
from pgtandem.postgres.archive_scripts import ARCHIVE_SCRIPT, SYSTEM_FILE
from pgtandem.postgres.certificates import CERTIFICATE_FILE, ROOT_FILE
from pgtandem.postgres.conf import RECOVERY_DONE, RECOVERY_FILE, SETTINGS_FILE, has_include, parse_settings
from pgtandem.postgres.conninfo import render_passfile
from pgtandem.postgres.controldata import parse_control_data
from pgtandem.postgres.hba import find_block
from pgtandem.postgres.hba_records import md5_records, records_for
from pgtandem.postgres.versions import has_standby_signal
from pgtandem.postgres.wal_fetch import FETCH_SCRIPT, RESTORE_SCRIPT
from pgtandem.postgres.wal_over_ssh import HOSTS_FILE
from pgtandem.postgres.wal_push import PUSH_SCRIPT

OWN_FILES = (
    *(MARKER_FILE, SETTINGS_FILE, ARCHIVE_SCRIPT, RESTORE_SCRIPT, SYSTEM_FILE, RECOVERY_FILE),
    *(FETCH_SCRIPT, PUSH_SCRIPT, HOSTS_FILE),
    *(CERTIFICATE_FILE, ROOT_FILE, RESTORE_FILE),
)

_READ = (
    *OWN_FILES,
    PASSFILE,
    PROMOTION_FILE,
    RECOVERY_DONE,
    *("PG_VERSION", "pg_hba.conf", "postgresql.conf", "postgresql.auto.conf"),
)


async def observe_directory(
    host: Host, path: str, programs: str, topology: Topology, replication_password: Secret | None
) -> Fact[DataDirectory]:
    """What stands in a data directory; Absent when it is missing or empty."""
    try:
        entries = await host.list_directory(path)
        if not entries:
            return ABSENT
        # Asked side by side: over a long line the answers come together. The program takes longest, so it goes first.
        control, read = await asyncio.gather(
            _control(host, path, programs, entries),
            asyncio.gather(*(_text(host, posixpath.join(path, name)) for name in _READ)),
        )
        texts = dict(zip(_READ, read, strict=True))
        marker, records = _marker(texts[MARKER_FILE]), texts["pg_hba.conf"] or ""
        replaced = topology.adoption.roles if topology.adoption else ()
        return Known(
            DataDirectory(
                entries=tuple(entries[:20]),
                major=_major(texts["PG_VERSION"]),
                control=control,
                marker=marker,
                files={name: texts[name] for name in (*OWN_FILES, RECOVERY_DONE)},
                passfile_ok=passfile_ok(texts[PASSFILE], topology, replication_password),
                hba_block=find_block(records),
                settings_included=has_include(texts["postgresql.conf"] or ""),
                standby_signal=_is_standby(topology.postgresql, entries, texts[RECOVERY_FILE]),
                recovery_signal="recovery.signal" in entries,
                backup_label="backup_label" in entries,
                outside=await places_outside(host, path),
                auto_settings=parse_settings(texts["postgresql.auto.conf"] or ""),
                promotion=parse_promotion(texts[PROMOTION_FILE], marker),
                adoptable=marker is None and _may_be_adopted(topology, control),
                replaced_records=records_for(records, replaced) if topology.adoption else (),
                md5_records=md5_records(records, replaced) if topology.adoption else (),
            )
        )
    except HostFailure as failure:
        return Unknown(f"{failure.what}: {failure.why}")


def _may_be_adopted(topology: Topology, control: Fact[ControlData]) -> bool:
    """Whether the topology file gives leave to take it over: leave is given for one cluster, by its identifier."""
    adoption = topology.adoption
    return (
        adoption is not None
        and isinstance(control, Known)
        and control.value.system_identifier == adoption.system_identifier
    )


async def _text(host: Host, path: str) -> str | None:
    content = await host.read_file(path)
    return None if content is None else content.decode("utf-8", errors="replace")


def _is_standby(major: int, entries: tuple[str, ...], recovery: str | None) -> bool:
    """Whether a start would make it a standby: a file without content from 12 on, a line of recovery.conf before."""
    if has_standby_signal(major):
        return "standby.signal" in entries
    return parse_settings(recovery or "").get("standby_mode", "off").lower() in ("on", "true", "yes", "1")


def _major(text: str | None) -> Fact[int]:
    first = (text or "").strip().partition(".")[0]
    return Known(int(first)) if first.isdigit() else ABSENT


async def observe_marker(host: Host, path: str) -> Marker | None:
    """Whose data directory pgtandem made there; None where it made none. Raises HostFailure."""
    return _marker(await _text(host, posixpath.join(path, MARKER_FILE)))


def _marker(text: str | None) -> Marker | None:
    try:
        value = json.loads(text or "null")
        return Marker(str(value["cluster"]), NodeName(str(value["node"])), value.get("adopted") is True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def passfile_ok(text: str | None, topology: Topology, password: Secret | None) -> bool:
    """Whether the passfile has the wished lines; where the password is not known here, the lines' beginnings."""
    if text is None:
        return False
    nodes = [(node.address, node.port) for node in topology.nodes]
    if password is not None:
        return text == render_passfile((address, port, REPLICATION_ROLE, password) for address, port in nodes)
    stars = render_passfile((address, port, REPLICATION_ROLE, Secret("")) for address, port in nodes)
    return all(any(line.startswith(start) for line in text.splitlines()) for start in stars.splitlines())


async def _control(host: Host, path: str, programs: str, entries: Sequence[str]) -> Fact[ControlData]:
    if "PG_VERSION" not in entries:
        return ABSENT
    if not programs:
        return Unknown("there is no pg_controldata of this version")
    done = await host.look([posixpath.join(programs, "pg_controldata"), path])
    if done.exit_code:
        return Unknown(f"pg_controldata failed: {done.complaint}")
    try:
        return Known(parse_control_data(done.text))
    except ValueError as error:
        return Unknown(str(error))


async def observe_postmaster(host: Host, path: str) -> Fact[Postmaster]:
    """The living server process of a data directory: postmaster.pid alone is no proof, a killed server leaves it."""
    try:
        text = await _text(host, posixpath.join(path, "postmaster.pid"))
        lines = (text or "").splitlines()
        if not lines or not lines[0].strip().isdigit():
            return ABSENT
        pid = int(lines[0])
        if not await host.process_alive(pid):
            return ABSENT
        port = int(lines[3]) if len(lines) > 3 and lines[3].strip().isdigit() else 0
        word = lines[7].strip() if len(lines) > 7 else ""
        states = {state.value: state for state in PostmasterState}
        socket = lines[4].strip() if len(lines) > 4 else ""
        return Known(Postmaster(pid, port, states.get(word, PostmasterState.UNKNOWN), socket))
    except HostFailure as failure:
        return Unknown(f"{failure.what}: {failure.why}")
