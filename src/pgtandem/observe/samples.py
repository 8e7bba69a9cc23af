"""Numbers over time, for plots: what is kept of each of many looks. Pure."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.observe.health import ClusterHealth, cluster_health

#: The stages that WAL goes through, in their order: what is still to be done.
STAGES = ("to send", "to write", "to flush", "to replay")


@dataclass(frozen=True, slots=True)
class NodeSample:
    """What one look says of a standby: its lag at each of STAGES in bytes, and how old what it shows is."""

    stage_bytes: tuple[int, ...] | None
    lag_bytes: int | None
    replay_lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One look in numbers: when (seconds since 1970), where the one primary was, each node."""

    at: float
    written: Lsn | None
    nodes: Mapping[NodeName, NodeSample]


def sample_of(topology: Topology, observed: Observed, health: ClusterHealth | None = None) -> Sample:
    health = health or cluster_health(topology, observed)
    primary = observed.nodes[health.primary].running if health.primary else None
    nodes = {}
    for node in health.nodes:
        each = node.stages
        stages = None
        if each is not None:
            stages = (each.sent_lag_bytes, each.write_lag_bytes, each.flush_lag_bytes, each.replay_lag_bytes)
        nodes[node.name] = NodeSample(stages, node.lag_bytes, node.replay_lag_seconds)
    return Sample(observed.now, primary.current_lsn if primary else None, nodes)


Series = list[float | None]
#: What a plot shows of a sample, given the one before it.
Value = Callable[[Sample, Sample | None], float | None]


class Samples:
    """The last of many looks, oldest first."""

    def __init__(self, most: int = 3700) -> None:
        self._kept: deque[Sample] = deque(maxlen=most)

    def add(self, sample: Sample) -> None:
        self._kept.append(sample)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def latest(self) -> Sample | None:
        return self._kept[-1] if self._kept else None

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._kept)

    def columns(self, count: int, seconds: float, value: Value) -> Series:
        """The last `seconds` in so many columns, the latest at the end: of each the greatest value, None where there is
        none. `value` gets a sample and the one before it."""
        found: Series = [None] * count
        latest = self.latest
        if latest is None:
            return found
        before = None
        for sample in self._kept:
            place = count - 1 - int((latest.at - sample.at) * count / seconds)
            if place >= 0:
                number = value(sample, before)
                if number is not None:
                    found[place] = max(number, found[place] or 0.0)
            before = sample
        return _without_gaps(found, self._longest_pause() * count / seconds)

    def _longest_pause(self) -> float:
        times = [sample.at for sample in self._kept]
        return max((b - a for a, b in zip(times[-20:], times[-19:], strict=False)), default=0.0)


def _without_gaps(found: Sequence[float | None], widest: float) -> Series:
    """Columns between two looks have the value of the one before them, as long as looks come that seldom."""
    filled: Series = list(found)
    for place, number in enumerate(found):
        if number is None:
            continue
        following = place + 1
        while following < len(found) and found[following] is None and following - place <= widest + 1:
            following += 1
        if following < len(found) and found[following] is not None:
            for between in range(place + 1, following):
                filled[between] = number
    return filled


def stage_lag(name: NodeName, stage: int) -> Value:
    def value(sample: Sample, before: Sample | None) -> float | None:
        node = sample.nodes.get(name)
        return None if node is None or node.stage_bytes is None else float(node.stage_bytes[stage])

    return value


def lag_bytes(name: NodeName) -> Value:
    def value(sample: Sample, before: Sample | None) -> float | None:
        node = sample.nodes.get(name)
        return None if node is None or node.lag_bytes is None else float(node.lag_bytes)

    return value


def replay_lag(name: NodeName) -> Value:
    def value(sample: Sample, before: Sample | None) -> float | None:
        node = sample.nodes.get(name)
        return None if node is None else node.replay_lag_seconds

    return value


def wal_rate(sample: Sample, before: Sample | None) -> float | None:
    """Bytes of WAL per second since the look before; None where a look had no primary, or it changed."""
    if before is None or before.written is None or sample.written is None or sample.at <= before.at:
        return None
    written = sample.written - before.written
    return None if written < 0 else written / (sample.at - before.at)
