"""Health checks for load balancers: is this node the primary, is that one fit to be read from? Pure: a look in, an
answer out.

What is not known is never a yes. Two primaries are both refused: rows written to either might have to be taken back.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.observe.health import NodeHealth, cluster_health

#: A standby in one of these states gets WAL, or has all that anybody saw.
_FOLLOWS = ("streaming", "catching up")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and a sentence."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How far behind a standby may be; None for as far as it likes."""

    lag_bytes: float | None = None
    lag_seconds: float | None = None


def parse_limits(query: Mapping[str, list[str]]) -> Limits:
    """Of `?max_lag_bytes=N&max_lag_seconds=S`. Raises ValueError with a sentence."""
    numbers: dict[str, float] = {}
    for key, values in query.items():
        if key not in ("max_lag_bytes", "max_lag_seconds"):
            raise ValueError(f'there is no parameter "{key}": max_lag_bytes and max_lag_seconds are the two')
        try:
            number = float(values[-1])
        except ValueError:
            number = -1
        if not 0 <= number < float("inf"):
            raise ValueError(f'{key} is "{values[-1]}", and has to be a number, 0 or more')
        numbers[key] = number
    return Limits(numbers.get("max_lag_bytes"), numbers.get("max_lag_seconds"))


def check_primary(topology: Topology, observed: Observed, name: NodeName | None = None) -> Answer:
    """Whether a node is the primary; without a name, whether there is one. 200 or 503."""
    primaries = observed.primaries()
    if len(primaries) > 1:
        return Answer(503, f"there are {len(primaries)} primaries ({', '.join(primaries)}): none is taken for the one")
    if name is None:
        return Answer(200, f"{primaries[0]} is the primary") if primaries else Answer(503, "no primary answers")
    if name in primaries:
        return Answer(200, f"{name} is the primary")
    return Answer(503, _instead(topology, observed, name))


def check_standby(
    topology: Topology, observed: Observed, limits: Limits, written: Lsn | None, name: NodeName | None = None
) -> Answer:
    """Whether a node is a standby that may be read from; without a name, whether there is one. 200 or 503.

    It has to stream and to replay. Where no server that it could stream from answers, nothing newer is to be had, and
    it may be read from as well; it is then measured against `written`, the primary's last known position.
    """
    if name is not None:
        return _standby(topology, observed, limits, written, name)
    answers = [_standby(topology, observed, limits, written, each) for each in topology.names]
    return next(
        (answer for answer in answers if answer.status == 200), Answer(503, "no standby is fit to be read from")
    )


def _standby(topology: Topology, observed: Observed, limits: Limits, written: Lsn | None, name: NodeName) -> Answer:
    server = observed.nodes[name].running
    if server is None or not server.in_recovery:
        return Answer(503, _instead(topology, observed, name))
    node = _health(topology, observed, name)
    alone = not observed.primaries() and (node.upstream is None or observed.nodes[node.upstream].running is None)
    if node.state not in _FOLLOWS and not (alone and node.state != "delayed"):
        return Answer(503, f"{name} is {node.state}")
    if node.apply_delay and limits == Limits():
        return Answer(503, f"{name} is behind on purpose, by {node.apply_delay}: say max_lag_seconds to read from it")
    lag_bytes = node.lag_bytes
    if lag_bytes is None and not observed.primaries() and written is not None and server.replay_lsn is not None:
        lag_bytes = max(written - server.replay_lsn, 0)
    if server.replay_paused and lag_bytes != 0:
        return Answer(503, f"replay is paused on {name}")
    for what, lag, most in (
        ("bytes", lag_bytes, limits.lag_bytes),
        ("seconds", 0.0 if lag_bytes == 0 else node.replay_lag_seconds, limits.lag_seconds),
    ):
        if most is not None and lag is None:
            return Answer(503, f"how many {what} {name} is behind is not known")
        if most is not None and lag is not None and lag > most:
            return Answer(503, f"{name} is {lag:.15g} {what} behind, more than {most:.15g}")
    behind = "how far it is behind is not known" if lag_bytes is None else f"{lag_bytes} bytes behind"
    return Answer(200, f"{name} is a standby, {behind}")


def _health(topology: Topology, observed: Observed, name: NodeName) -> NodeHealth:
    return next(node for node in cluster_health(topology, observed).nodes if node.name == name)


def _instead(topology: Topology, observed: Observed, name: NodeName) -> str:
    """What a node is that is not what was asked for."""
    node = _health(topology, observed, name)
    if observed.nodes[name].running is not None:
        return f"{name} is a {node.role}"
    return f"{name} is {node.state}"
