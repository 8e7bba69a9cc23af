"""The parts of the first screen. Each draws what the app knows, at whatever size it has; signs, not colours, carry what
matters."""

import time
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual.widget import Widget

from pgtandem.model.words import size_in_words
from pgtandem.observe.health import NodeHealth
from pgtandem.observe.samples import STAGES, Series, Value, lag_bytes, stage_lag, wal_rate
from pgtandem.observe.scale import round_top
from pgtandem.observe.tree import tree_of
from pgtandem.tui.bars import bars

if TYPE_CHECKING:
    from pgtandem.tui.app import Top

_WELL = ("running", "streaming", "delayed")
_LEFT, _RIGHT = 14, 12
#: Below this a plot's scale does not go: an idle cluster has no mountains.
_LEAST_BYTES = 1000.0
_WIDE = 110


class Live(Widget):
    """A part that is drawn anew with every look."""

    DEFAULT_CLASSES = "live"

    @property
    def top(self) -> "Top":
        return cast("Top", self.app)


class Head(Live):
    """The cluster, the moment, how fast WAL is written; who must confirm a commit."""

    DEFAULT_CSS = "Head { height: 2; }"

    def render(self) -> Text:
        top, health = self.top, self.top.health
        rate = _now(top.samples.columns(1, max(3 * top.seconds, 3), wal_rate))
        words = [
            f"cluster {health.cluster}",
            f"PostgreSQL {top.topology.postgresql}",
            f"PAUSED at {top.moment}" if top.paused else top.moment,
            "WAL ?" if rate is None else f"WAL {size_in_words(round(rate))}/s",
        ]
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("  ".join(words), style="bold")
        text.append(f"\nsync: {health.synchronous}")
        return text


class Problems(Live):
    """What is wrong; nothing where nothing is."""

    DEFAULT_CSS = "Problems { height: auto; max-height: 4; }"

    def render(self) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("\n".join(f"! {line}" for line in self._lines()), style="bold red")
        return text

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._lines())

    def _lines(self) -> tuple[str, ...]:
        problems = self.top.health.problems
        return problems if len(problems) <= 4 else (*problems[:3], f"and {len(problems) - 3} more: pgtandem status")


class Tree(Live):
    """A line per node; the chosen one is marked."""

    DEFAULT_CSS = "Tree { height: auto; max-height: 40%; }"

    def rows(self) -> list[tuple[NodeHealth, int]]:
        return tree_of(self.top.health)

    def render(self) -> Text:
        wide = self.size.width >= _WIDE
        heading = ["  node", "role", "state", "TL", "lag", "replay lag", *(STAGES if wide else ())]
        rows = [self._row(node, depth, wide) for node, depth in self.rows()]
        widths = [max(len(row[column]) for row in [heading, *rows]) for column in range(len(heading))]
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(_line(heading, widths), style="dim")
        chosen = next((at for at, (node, _) in enumerate(self.rows()) if node.name == self.top.selected), 0)
        # Of more nodes than there is room for, those around the chosen one are shown.
        room = max(self.size.height - 1, 1) if self.size.height else len(rows)
        first = min(max(chosen - room + 1, 0), max(len(rows) - room, 0))
        for (node, _), row in list(zip(self.rows(), rows, strict=True))[first : first + room]:
            style = "" if node.state in _WELL else "bold red"
            text.append(
                "\n" + _line(row, widths), style=f"{style} reverse" if node.name == self.top.selected else style
            )
        return text

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self.rows()) + 1

    def _row(self, node: NodeHealth, depth: int, wide: bool) -> list[str]:
        mark = "> " if node.name == self.top.selected else "  "
        branch = "  " * max(depth - 1, 0) + ("└ " if depth else "")
        state = node.state + (f" ({node.sync_state})" if node.sync_state in ("sync", "quorum", "potential") else "")
        row = [
            f"{mark}{branch}{node.name}",
            node.role,
            state,
            "-" if node.timeline is None else str(node.timeline),
            "-" if node.lag_bytes is None else size_in_words(node.lag_bytes),
            "-" if node.replay_lag_seconds is None else f"{node.replay_lag_seconds:.1f} s",
        ]
        if wide:
            each = node.stages
            lags = (
                (each.sent_lag_bytes, each.write_lag_bytes, each.flush_lag_bytes, each.replay_lag_bytes)
                if each
                else (None,) * len(STAGES)
            )
            row += ["-" if lag is None else size_in_words(lag) for lag in lags]
        return row


class Plots(Live):
    """Lag of the chosen standby by stage over time, or of all standbys where the primary is chosen, and WAL rate."""

    DEFAULT_CSS = "Plots { height: 1fr; min-height: 6; }"

    def render(self) -> Text:
        top = self.top
        node = next(each for each in top.health.nodes if each.name == top.selected)
        lags: list[tuple[str, Value]]
        if node.role == "primary":
            title = "lag of each standby behind the primary"
            lags = [(name, lag_bytes(name)) for name in top.topology.names if name != node.name]
        else:
            title = f"lag of {node.name} by stage"
            lags = [(stage, stage_lag(node.name, at)) for at, stage in enumerate(STAGES)]
            if node.stages is None:
                title += f": it is {node.state}"
        room = self.size.height - 1
        lags = lags[: max(room - 1, 1)]
        each = max(room // (len(lags) + 1), 1)
        wide = max(self.size.width - _LEFT - _RIGHT, 10)
        series = [(label, top.samples.columns(wide, top.span, value)) for label, value in lags]
        scale = round_top([number for _, values in series for number in values], _LEAST_BYTES)
        text = Text(no_wrap=True, overflow="crop")
        text.append(f"{title}, last {_span(top.span)}", style="bold")
        for label, values in series:
            _plot(text, label, values, each, scale, "")
        rates = top.samples.columns(wide, top.span, wal_rate)
        _plot(text, "WAL written", rates, each, round_top(rates, _LEAST_BYTES), "/s")
        return text


class Events(Live):
    """What happened, the latest at the bottom."""

    DEFAULT_CSS = "Events { height: 25%; min-height: 3; max-height: 12; }"

    def render(self) -> Text:
        events = self.top.chronicle.events
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("what happened since the view was opened", style="bold")
        room = max(self.size.height - 1, 1)
        if not events:
            text.append("\n  nothing")
        for event in events[-room:]:
            clock = time.strftime("%H:%M:%S", time.localtime(event.at))
            text.append(f"\n{'!' if event.grave else ' '} {clock}  ", style="dim")
            text.append(event.text, style="bold red" if event.grave else "")
        return text


def _line(row: list[str], widths: list[int]) -> str:
    return "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip()


def _plot(text: Text, label: str, values: Series, height: int, scale: float, per: str) -> None:
    """Lines of a plot: its name and the present value on the left, the scale on the right."""
    now = _now(values)
    shown = "?" if now is None else f"{size_in_words(round(now))}{per}"
    left = [f"{label[: _LEFT - 1]:<{_LEFT}}"]
    left += [f"  {shown}".ljust(_LEFT)] if height > 1 else []
    right = [f" {size_in_words(round(scale))}{per}" if height > 1 else f" {shown}"]
    for number, line in enumerate(bars(values, height, scale)):
        text.append("\n" + (left[number] if number < len(left) else " " * _LEFT))
        text.append(line, style="cyan")
        text.append(right[number][:_RIGHT] if number < len(right) else "", style="dim")


def _now(values: Series) -> float | None:
    return values[-1] if values else None


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
