"""What a distribution knows of a node's server: postgresql-common's register, and the systemd unit that starts it."""

import posixpath

from pgtandem.model.facts import ABSENT, Fact, Known, Unknown
from pgtandem.model.layout import Registration, Service
from pgtandem.model.observed import System
from pgtandem.model.topology import Node, Topology
from pgtandem.ports import Host, HostFailure
from pgtandem.postgres import debian

_SHOWN = "Id,LoadState,ActiveState,UnitFileState,Environment"

#: Debian's unit that starts every registered cluster.
_DEBIANS_OWN = "postgresql.service"

#: What systemd knows of the units, and after a line of its own those for which systemctl may be used: as root, or by
#: sudo that asks for no password (`sudo -l` alone also says yes to what needs one). One program, since each is a login.
_LOOK = """
what=$1; shift
systemctl show -p "$what" "$@" || exit
echo allowed:
[ "$(id -u)" != 0 ] || exec printf '%s\\n' "$@"
for unit do
  sudo -n -l systemctl start "$unit" || continue
  sudo -n -v || sudo -n systemctl --version || break
  echo "$unit" >&3
done 3>&1 >/dev/null 2>&1
exit 0
"""
_ALLOWED = "allowed:"


async def observe_layout(
    host: Host, node: Node, system: System, topology: Topology
) -> tuple[Fact[Registration], Fact[Service]]:
    """Both Absent where they do not concern the node."""
    try:
        registration = await _registration(host, node, system, topology)
        service = await _service(host, node, system, topology, registration)
        return (ABSENT if registration is None else Known(registration)), service
    except HostFailure as failure:
        reason = Unknown(f"{failure.what}: {failure.why}")
        return reason, reason


async def _registration(host: Host, node: Node, system: System, topology: Topology) -> Registration | None:
    place = debian.registration_directory(node.data_directory, topology.postgresql)
    if place is None or system.clusters is None:
        return None
    text = await _text(host, posixpath.join(place, debian.CONFIG_FILE))
    start = await _text(host, posixpath.join(place, debian.START_FILE))
    obstacle = await host.obstacle(place) if text is None else None
    return Registration(
        directory=place,
        text=text,
        ours=text is not None and debian.is_ours(text, topology.cluster, node.name),
        obstacle=obstacle.why if obstacle else "",
        auto=debian.starts_with_the_host(start),
    )


async def _service(
    host: Host, node: Node, system: System, topology: Topology, registration: Registration | None
) -> Fact[Service]:
    if not system.systemd:
        return ABSENT
    instance = debian.unit_of(registration.directory) if registration else None
    names = [instance, _DEBIANS_OWN] if instance else [f"postgresql-{topology.postgresql}.service", _DEBIANS_OWN]
    # As who logged in: as root systemctl needs no D-Bus, which small hosts lack.
    look = ["sh", "-c", _LOOK, "sh", _SHOWN, *names]
    shown = await host.run_as_login(look, deadline_seconds=20)
    if shown.exit_code:
        return Unknown(f"systemctl on {host.name} says: {shown.complaint}")
    properties, _, allowed = shown.text.partition(f"{_ALLOWED}\n")
    units = [_properties(block) for block in properties.split("\n\n")]
    found = {unit.get("Id", ""): unit for unit in units if unit.get("LoadState") == "loaded"}
    if instance is not None:
        all_of_them = found.get(_DEBIANS_OWN, {}).get("UnitFileState") == "enabled"
        assert registration is not None
        enable = f"systemctl enable {_DEBIANS_OWN}"
        if not registration.auto:
            enable = f"write auto in {posixpath.join(registration.directory, debian.START_FILE)}"
        return _known(found.get(instance), all_of_them and registration.auto, enable, allowed)
    for name in names:
        unit = found.get(name or "")
        if unit is not None and _runs(unit, node.data_directory):
            return _known(unit, unit.get("UnitFileState") == "enabled", f"systemctl enable {name}", allowed)
    return ABSENT


def _known(unit: dict[str, str] | None, at_boot: bool, enable: str, allowed: str) -> Fact[Service]:
    if unit is None:
        return ABSENT
    active = unit.get("ActiveState") in ("active", "activating", "reloading")
    return Known(Service(unit["Id"], active, at_boot, enable, unit["Id"] in allowed.splitlines()))


def _properties(block: str) -> dict[str, str]:
    """One unit as `systemctl show` prints it."""
    return {key: value for key, equals, value in (line.partition("=") for line in block.splitlines()) if equals}


def _runs(unit: dict[str, str], data_directory: str) -> bool:
    """Whether a unit's server is that of a data directory: the packages of RHEL say so by PGDATA."""
    variables = dict(word.partition("=")[::2] for word in unit.get("Environment", "").split())
    return variables.get("PGDATA", "").rstrip("/") == data_directory


async def _text(host: Host, path: str) -> str | None:
    content = await host.read_file(path)
    return None if content is None else content.decode("utf-8", errors="replace")
