"""What the receiver of the archive's stream has received, and whether it runs."""

from collections.abc import Iterable, Mapping

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.stream import ObservedStream, Tail
from pgtandem.ports import Host
from pgtandem.postgres.archive_content import streamed_timeline
from pgtandem.postgres.segments import segment_number
from pgtandem.postgres.stream_scripts import LOOK, parse_look

_SECONDS = 30.0


async def look_at_stream(host: Host, folder: str, segment_bytes: int) -> ObservedStream:
    """Whether it runs, and what came; nothing where there is no receiver. Raises HostFailure and its kin."""
    done = await host.run(["sh", "-c", LOOK, "sh", folder], deadline_seconds=_SECONDS)
    look = parse_look(done.text)
    names = [name for name, size in look.files if size == segment_bytes]
    whole = tuple(name for name in names if segment_number(name, segment_bytes) is not None)
    partial = tuple(name for name in names if name.endswith(".partial"))
    newest = streamed_timeline(name for name, _ in look.files)
    return ObservedStream(
        running=look.running,
        segments=whole,
        partial=partial,
        tail=_tail(partial, whole, look.tails, newest, segment_bytes),
        histories=tuple(Timeline(int(name[:8], 16)) for name, _ in look.files if name.endswith(".history")),
        received_seconds=look.age,
        complaint=look.said[-1] if look.said else "",
    )


def _tail(
    partial: Iterable[str], whole: Iterable[str], tails: Mapping[str, int], newest: Timeline, segment_bytes: int
) -> Tail | None:
    """The segment that is being received: the last one of the newest timeline."""
    there, found = set(whole), []
    for name in partial:
        segment = name.removesuffix(".partial")
        number = segment_number(segment, segment_bytes)
        if number is not None and Timeline(int(name[:8], 16)) == newest and segment not in there:
            end = Lsn(number * segment_bytes + -(-tails.get(name, 0) // 8) * 8)
            found.append(Tail(newest, number, end))
    return max(found, key=lambda tail: tail.number, default=None)
