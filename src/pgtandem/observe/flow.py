"""How WAL flows: each standby's lag by stage and where it is slow, what slots hold. A pure reading of Observed."""

from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.server import Sender, Server
from pgtandem.model.value import dataclass

#: Below this nothing is called slow: WAL is always on its way somewhere.
_SLOW_BYTES = 1024 * 1024
_MEGABYTE = 1024 * 1024
#: A shorter time since the last checkpoint tells no rate.
_SHORTEST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Stages:
    """How far a standby is behind its upstream at each stage, in bytes, as pg_stat_replication tells it; each is at
    least the one before. `slow` is the stage that holds up the most: "network" (sent and written), "disk" (flushed),
    "replay", or None where it is hardly behind. The seconds are the upstream's own measure, None where it has none."""

    sent_lag_bytes: int
    write_lag_bytes: int
    flush_lag_bytes: int
    replay_lag_bytes: int
    write_lag_seconds: float | None = None
    flush_lag_seconds: float | None = None
    replay_lag_seconds: float | None = None

    @property
    def slow(self) -> str | None:
        if self.replay_lag_bytes < _SLOW_BYTES:
            return None
        held = {
            "network": self.write_lag_bytes,
            "disk": self.flush_lag_bytes - self.write_lag_bytes,
            "replay": self.replay_lag_bytes - self.flush_lag_bytes,
        }
        return max(held, key=lambda stage: held[stage])


@dataclass(frozen=True, slots=True)
class SlotHealth:
    """A slot, the WAL that it holds, and how much more it may hold before it is lost; None where nothing limits it, or
    nothing is held. `cap_reached_seconds` is how long that lasts while nobody reads it, at the rate at which WAL was
    written since the last checkpoint; None where that is not known, and for ever."""

    name: str
    node: NodeName
    kind: str
    active: bool
    wal_status: str | None
    held_bytes: int | None
    room_bytes: int | None
    cap_reached_seconds: float | None = None


def stages(upstream: Server, sender: Sender) -> Stages | None:
    """None where the upstream does not tell (the standby has not said how far it is yet)."""
    end = upstream.current_lsn or max((at for at in (upstream.receive_lsn, upstream.replay_lsn) if at), default=None)
    if end is None or sender.sent_lsn is None or sender.write_lsn is None:
        return None
    if sender.flush_lsn is None or sender.replay_lsn is None:
        return None
    behind: list[int] = []
    for at in (sender.sent_lsn, sender.write_lsn, sender.flush_lsn, sender.replay_lsn):
        # Read a moment apart, a stage can seem to be ahead of the one before.
        behind.append(max([0, end - at, *behind]))
    # What was measured last is no lag any more once everything is there.
    seconds = (sender.write_lag_seconds, sender.flush_lag_seconds, sender.replay_lag_seconds)
    return Stages(*behind, *(0.0 if lag == 0 else late for lag, late in zip(behind[1:], seconds, strict=True)))


def wal_rate(observed: Observed) -> float | None:
    """Bytes of WAL per second that the one primary wrote since its last checkpoint began; None where that is too short
    ago to tell. On an idle server there are no checkpoints, and it goes towards nothing."""
    primaries = observed.primaries()
    server = observed.nodes[primaries[0]].running if len(primaries) == 1 else None
    if server is None or server.current_lsn is None or server.redo_lsn is None:
        return None
    if server.redo_age_seconds is None or server.redo_age_seconds < _SHORTEST_SECONDS:
        return None
    return max(server.current_lsn - server.redo_lsn, 0) / server.redo_age_seconds


def slots(observed: Observed) -> tuple[SlotHealth, ...]:
    """Every slot of every running server."""
    found = []
    rate = wal_rate(observed)
    for name, seen in observed.nodes.items():
        server = seen.running
        for slot in server.slots.values() if server else ():
            cap = _cap_bytes(server) if server else None
            room = None if cap is None or slot.held_bytes is None else max(cap - slot.held_bytes, 0)
            lasts = room / rate if room is not None and rate else None
            found.append(
                SlotHealth(slot.name, name, slot.kind, slot.active, slot.wal_status, slot.held_bytes, room, lasts)
            )
    return tuple(found)


def _cap_bytes(server: Server) -> int | None:
    setting = server.settings.get("max_slot_wal_keep_size")
    if setting is None or not setting.value.isdigit():
        return None
    return int(setting.value) * _MEGABYTE
