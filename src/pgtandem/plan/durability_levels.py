"""The five levels of synchronous_commit on a cluster as it is now: what each loses, and whether it is one at all."""

from pgtandem.model.server import Server
from pgtandem.model.topology import Durability
from pgtandem.model.value import dataclass
from pgtandem.postgres.sync_names import confirmations

_BEYOND_LOCAL = (Durability.REMOTE_WRITE, Durability.ON, Durability.REMOTE_APPLY)


@dataclass(frozen=True, slots=True)
class Level:
    """One level. `loses` says what an acknowledged commit can be lost by. `same_as` is the level that it is the same as
    here, `never` why no commit would ever end under it now ("" where it would)."""

    durability: Durability
    loses: str
    same_as: Durability | None = None
    never: str = ""


def durability_levels(primary: Server) -> tuple[Level, ...]:
    """By what is in force on the primary (manual, 20.5.1), the loosest first.

    Where no standby has to confirm, the levels beyond "local" wait for the primary's own disk as well, and for nothing
    else. Where standbys that have to are not there, commits under them wait without end.
    """
    names = primary.settings.get("synchronous_standby_names")
    needed = confirmations(names.value) if names else 0
    able = sum(sender.state == "streaming" and sender.sync_state != "async" for sender in primary.senders)
    standbys = f"{needed} standby{'s' if needed > 1 else ''}"
    never = "" if able >= needed else f"{standbys} must confirm and {able} can: no commit would end"
    failover = "by a failover what no standby had received"
    loses = {
        Durability.OFF: f"the last 0.6 s or so by a crash of the primary; {failover}",
        Durability.LOCAL: failover,
        Durability.REMOTE_WRITE: f"the last moments, if the primary and the system of {_those(needed)} crash together",
        Durability.ON: f"nothing, unless the disks of the primary and of {_those(needed)} are lost together",
        Durability.REMOTE_APPLY: f"the same as on; {_those(needed)} can be read from at once",
    }
    levels = []
    for level in Durability:
        if level in _BEYOND_LOCAL and not needed:
            levels.append(Level(level, loses[Durability.LOCAL], same_as=Durability.LOCAL))
        else:
            levels.append(Level(level, loses[level], never=never if level in _BEYOND_LOCAL else ""))
    return tuple(levels)


def _those(needed: int) -> str:
    return "the standby that confirmed" if needed == 1 else f"the {needed} standbys that confirmed"
