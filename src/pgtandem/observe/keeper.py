"""Who starts the receiver of the archive's stream again, when its host has come back: a unit of systemd, or cron."""

import asyncio
import posixpath

from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.stream import Keeper
from pgtandem.model.topology import Topology
from pgtandem.ports import Host
from pgtandem.postgres.stream_scripts import RECEIVER, RUN
from pgtandem.postgres.stream_unit import LOOK_AT_UNIT, is_of, render_unit, unit_name, unit_path

_SECONDS = 20.0

#: RUN: prints the account, and after that what its crontab has of the receiver.
_LOOK_AT_ACCOUNT = 'id -un && { crontab -l 2>/dev/null | grep -v "^ *#" | grep -F -e "$1"; true; }'


async def observe_keeper(host: Host, topology: Topology, folder: str) -> Fact[Keeper]:
    """`folder` is the cluster's in the archive, "" while that is not known. Raises HostFailure and its kin."""
    archive = topology.archive
    if archive is None or archive.host is None:
        return ABSENT
    if archive.host.is_local and all(node.host.is_local for node in topology.nodes):
        # Nor do the servers on this machine start with it.
        return ABSENT
    name = unit_name(topology.cluster)
    look = ["sh", "-c", LOOK_AT_UNIT, "sh", name, unit_path(topology.cluster)]
    run = posixpath.join(folder, RECEIVER, RUN)
    shown, account = await asyncio.gather(
        # As who logged in: as root systemctl needs no D-Bus, which small hosts lack.
        host.run_as_login(look, deadline_seconds=_SECONDS),
        host.run(["sh", "-c", _LOOK_AT_ACCOUNT, "sh", run], deadline_seconds=_SECONDS),
    )
    if shown.exit_code:
        return Unknown(f"systemctl on {host.name} says: {shown.complaint}")
    who, _, crontab = account.text.partition("\n")
    cron = bool(folder) and bool(crontab.strip())
    if not shown.text:
        return Known(Keeper(name, crontab=cron))
    said, _, text = shown.text.partition("text\n")
    words = said.splitlines()
    return Known(
        Keeper(
            name,
            systemd=True,
            there=bool(text),
            theirs=bool(text) and not is_of(text, archive.directory, folder),
            as_wished=bool(folder) and text == render_unit(topology.cluster, archive.directory, folder, who),
            enabled="UnitFileState=enabled" in words,
            active=any(f"ActiveState={state}" in words for state in ("active", "activating", "reloading")),
            allowed="allowed" in words,
            crontab=cron,
        )
    )
