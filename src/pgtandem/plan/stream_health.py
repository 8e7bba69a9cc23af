"""What a look says of the archive's stream: in a word, in a sentence, and what is wrong with it."""

from collections.abc import Iterator

from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import STREAM_NAME, NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.server import Sender, Server
from pgtandem.model.topology import Topology
from pgtandem.model.value import dataclass
from pgtandem.model.words import size_in_words


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """`state` is "streaming", what the primary calls it while it catches up, "not streaming" while the receiver runs,
    "down" where it does not, and "unknown" where nobody could look. `lag_bytes` is what the primary has written and the
    archive's disk has not, `received_seconds` how long ago WAL came; None where that is not known. `said` is what the
    receiver said last, or why nobody could look. `sync_state` is the part that the primary gives it in confirming
    commits ("sync", "potential", "quorum", or "async"), None where it does not stream."""

    state: str
    lag_bytes: int | None = None
    received_seconds: float | None = None
    said: str = ""
    sync_state: str | None = None


def stream_health(topology: Topology, observed: Observed, primary: NodeName | None) -> StreamHealth | None:
    """None where no stream is asked for."""
    if not topology.streams_to_archive:
        return None
    server, stream = observed.nodes[primary].running if primary else None, observed.stream
    seen = stream.value if isinstance(stream, Known) else None
    received = seen.received_seconds if seen else None
    for sender in server.senders if server else ():
        if sender.application_name == STREAM_NAME:
            return StreamHealth(sender.state, _behind(server, sender), received, sync_state=sender.sync_state)
    if seen is None:
        return StreamHealth("unknown", said=stream.reason if isinstance(stream, Unknown) else "")
    return StreamHealth("not streaming" if seen.running else "down", None, received, seen.complaint)


def _behind(server: Server | None, sender: Sender) -> int | None:
    if server is None or server.current_lsn is None or sender.flush_lsn is None:
        return None
    return max(server.current_lsn - sender.flush_lsn, 0)


def stream_in_words(health: StreamHealth | None) -> str | None:
    if health is None:
        return None
    since = "" if health.received_seconds is None else f", the last WAL came {_ago(health.received_seconds)} ago"
    if health.state == "streaming":
        behind = "" if health.lag_bytes is None else f", {size_in_words(health.lag_bytes)} behind"
        part = f" ({health.sync_state})" if health.sync_state in ("sync", "quorum", "potential") else ""
        return f"streaming to the archive{part}{behind}"
    if health.state == "unknown":
        return f"unknown: {health.said}" if health.said else "unknown"
    said = f": {health.said}" if health.said and health.state == "not streaming" else ""
    return f"{health.state.upper()}{since}{said}"


def stream_problems(health: StreamHealth | None) -> Iterator[str]:
    """Nothing while nobody can tell: then something else is wrong, and told."""
    if health is not None and health.state == "down":
        yield "the receiver of the archive's stream does not run: the last segment is on the nodes' disks alone"
    if health is not None and health.state == "not streaming":
        yield "the archive's stream gets nothing: the last segment is on the nodes' disks alone"


def _ago(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
