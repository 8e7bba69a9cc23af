"""The status of a cluster on one screen."""

from pgtandem.cli.prose import wrapped
from pgtandem.cli.terminal import Paint
from pgtandem.model.observed import Observed
from pgtandem.model.plan import WARNING
from pgtandem.model.server import ReplayHold
from pgtandem.model.topology import Topology
from pgtandem.model.words import duration_in_words, size_in_words
from pgtandem.observe.backup_health import age_in_words
from pgtandem.observe.health import ClusterHealth, NodeHealth, cluster_health
from pgtandem.observe.samples import STAGES
from pgtandem.observe.tree import tree_of
from pgtandem.plan.pgbouncer_health import pgbouncer_in_words
from pgtandem.plan.stream_health import stream_in_words

_GOOD = ("running", "streaming", "delayed")
_HEADING = ("node", "role", "state", "follows", "zone", "TL", "lag", "replay lag", *STAGES, "port")
_ZONE, _STAGES = _HEADING.index("zone"), range(_HEADING.index(STAGES[0]), _HEADING.index(STAGES[-1]) + 1)
_WHERE = {"network": "on the network", "disk": "on its disk", "replay": "in replay"}
_FOLLOWS = _HEADING.index("follows")
#: A slot that lasts for longer than 30 days needs no care.
_AS_GOOD_AS_EVER = 30 * 86400


def status_lines(
    topology: Topology, observed: Observed, paint: Paint, columns: int, *, drawn: bool = True
) -> list[str]:
    """What is wrong first, then a line per node as a tree, then durability, the archive and TLS.

    `drawn` says whether the output can show the lines of a tree.
    """
    health = cluster_health(topology, observed)
    lines = [paint.red(line) for problem in health.problems for line in _wrapped("! ", problem, columns)]
    lines.append(paint.bold(f"cluster {health.cluster}") + f", PostgreSQL {topology.postgresql}")
    lines += _table(health, paint, columns, "└ " if drawn else "- ")
    for text in _slow(health):
        lines += _wrapped("slow:     ", text, columns)
    lines += _wrapped("sync:     ", health.synchronous, columns)
    for text in _slots(health):
        lines += _wrapped("slots:    ", text, columns)
    lines += _wrapped("archive:  ", health.archive, columns)
    if stream := stream_in_words(health.stream):
        lines += _wrapped("stream:   ", stream, columns)
    if health.backups is not None:
        lines += _wrapped("backups:  ", health.backups, columns)
    if health.tls is not None:
        lines += _wrapped("tls:      ", health.tls, columns)
    for pgbouncer in health.pgbouncers:
        lines += _wrapped("pool:     ", pgbouncer_in_words(pgbouncer), columns)
    for remark in health.remarks:
        if remark.startswith(WARNING):
            lines += [paint.yellow(line) for line in _wrapped("", remark, columns)]
        else:
            lines += _wrapped("note:     ", remark, columns)
    return lines


def _slow(health: ClusterHealth) -> list[str]:
    """Where the standbys that are behind are slow, with what each stage still has to do, and who holds replay up."""
    lines = []
    for node in health.nodes:
        behind = node.stages
        slow = behind.slow if behind else None
        if behind is not None and slow is not None and not node.apply_delay:
            each = (
                (behind.sent_lag_bytes, None),
                (behind.write_lag_bytes, behind.write_lag_seconds),
                (behind.flush_lag_bytes, behind.flush_lag_seconds),
                (behind.replay_lag_bytes, behind.replay_lag_seconds),
            )
            words = ", ".join(
                f"{size_in_words(count)} {stage}" + (f" ({late:.1f} s)" if count and late is not None else "")
                for stage, (count, late) in zip(STAGES, each, strict=True)
            )
            lines.append(f"{node.name}, {_WHERE[slow]}: {words}")
        if node.replay_hold is not None:
            lines.append(_held(node, node.replay_hold))
    return lines


def _held(node: NodeHealth, hold: ReplayHold) -> str:
    """Until max_standby_streaming_delay is over, replay waits for queries (manual, 26.4.2)."""
    what = {"lock": "has a lock that replay needs", "pin": "reads a page that replay is to clean"}
    why = what.get(hold.waits_for, "may still read rows that replay is to remove")
    who = " of ".join([*([hold.application_name] if hold.application_name else []), f"user {hold.user}"])
    age = duration_in_words(hold.transaction_seconds)
    return f"replay on {node.name} waits for process {hold.pid} ({who}), which {why}; its transaction is {age} old"


def _slots(health: ClusterHealth) -> list[str]:
    """One line while all are in use and well; each that is not has its own."""
    good = [slot for slot in health.slots if slot.active and slot.wal_status not in ("unreserved", "lost")]
    lines = []
    if good:
        most = max(good, key=lambda slot: slot.held_bytes or 0)
        rooms = [slot.room_bytes for slot in good if slot.room_bytes is not None]
        lasts = min((slot.cap_reached_seconds for slot in good if slot.cap_reached_seconds is not None), default=None)
        room = f", {size_in_words(min(rooms))} until the cap{_lasts(lasts)}" if rooms else ", no cap"
        count = f"{len(good)} in use" if len(good) > 1 else f"{most.name} on {most.node} is in use"
        lines.append(f"{count}, {size_in_words(most.held_bytes or 0)} held{room}")
    for slot in health.slots:
        if slot not in good:
            state = slot.wal_status if slot.wal_status in ("unreserved", "lost") else "not in use"
            held = f", {size_in_words(slot.held_bytes)} held" if slot.held_bytes is not None else ""
            room = f", {size_in_words(slot.room_bytes)} until the cap" if slot.room_bytes is not None else ""
            room += _lasts(slot.cap_reached_seconds) if room else ""
            no_cap = ", no cap" if held and not room else ""
            lines.append(f"{slot.name} on {slot.node} is {state}{held}{room}{no_cap}")
    return lines


def _lasts(seconds: float | None) -> str:
    """How long that is as WAL is written now; nothing where it is as good as for ever."""
    return "" if seconds is None or seconds > _AS_GOOD_AS_EVER else f" ({age_in_words(seconds)} of WAL at this rate)"


def _wrapped(label: str, text: str, columns: int) -> list[str]:
    lines = wrapped(text, max(columns - len(label), 20))
    return [(label if number == 0 else " " * len(label)) + line for number, line in enumerate(lines)]


def _table(health: ClusterHealth, paint: Paint, columns: int, branch: str) -> list[str]:
    """A row per node. Where that is too wide, first the stages are left out, then the column that the tree tells, then
    every name stands on a line of its own: a name is never cut."""
    rows = [_HEADING, *(_row(node, depth, branch) for node, depth in tree_of(health))]
    left_out = set() if any(node.zone for node in health.nodes) else {_ZONE}
    for more in ((), _STAGES, (_FOLLOWS,)):
        left_out |= set(more)
        shown = [tuple(cell for at, cell in enumerate(row) if at not in left_out) for row in rows]
        if _width(shown) <= columns:
            return [
                _painted(line, row, number, paint)
                for number, (line, row) in enumerate(zip(_lines(shown), rows, strict=True))
            ]
    facts = [row[1:] for row in shown]
    lines = []
    for number, (line, row) in enumerate(zip(_lines(facts), rows, strict=True)):
        if number:
            lines.append(_painted(row[0], row, number, paint))
        lines.append(_painted(f"    {line}", row, number, paint))
    return lines


def _painted(line: str, row: tuple[str, ...], number: int, paint: Paint) -> str:
    if number == 0:
        return paint.dim(line)
    return line if row[2].partition(" (")[0] in _GOOD else paint.red(line)


def _lines(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows]


def _width(rows: list[tuple[str, ...]]) -> int:
    return max(len(line) for line in _lines(rows))


def _row(node: NodeHealth, depth: int, branch: str) -> tuple[str, ...]:
    name = "  " * max(depth - 1, 0) + (branch if depth else "") + node.name
    remarks = [node.sync_state] if node.sync_state in ("sync", "quorum", "potential") else []
    remarks += [f"delayed {node.apply_delay}".removeprefix(f"{node.state} ")] if node.apply_delay else []
    state = node.state + (f" ({', '.join(remarks)})" if remarks else "")
    return (
        name,
        node.role,
        state,
        node.upstream or "-",
        node.zone or "-",
        "-" if node.timeline is None else str(node.timeline),
        "-" if node.lag_bytes is None else size_in_words(node.lag_bytes),
        "-" if node.replay_lag_seconds is None else f"{node.replay_lag_seconds:.1f} s",
        *_to_do(node),
        str(node.port),
    )


def _to_do(node: NodeHealth) -> tuple[str, ...]:
    behind = node.stages
    if behind is None:
        return ("-",) * len(STAGES)
    lags = (behind.sent_lag_bytes, behind.write_lag_bytes, behind.flush_lag_bytes, behind.replay_lag_bytes)
    return tuple(map(size_in_words, lags))
