"""The live view: looks again and again, keeps what it saw, and shows it on one screen; a page per node behind it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer

from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.observe.events import Chronicle
from pgtandem.observe.health import ClusterHealth, cluster_health
from pgtandem.observe.samples import Samples, sample_of
from pgtandem.tui.node_page import NodePage
from pgtandem.tui.views import Events, Head, Plots, Problems, Tree

Look = Callable[[], Awaitable[Observed]]
#: The path and the last lines of a node's log.
Tail = Callable[[NodeName, Observed], Awaitable[tuple[str, tuple[str, ...]]]]

#: How much time the plots show, in seconds.
SPANS = (60, 300, 900, 3600)


class Overview(Screen[None]):
    """Who streams from whom, what is wrong, lag over time, what happened."""

    DEFAULT_CSS = """
    Overview { layout: vertical; background: transparent; }
    """

    def compose(self) -> ComposeResult:
        yield Head(id="head")
        yield Problems(id="problems")
        yield Tree(id="tree")
        yield Plots(id="plots")
        yield Events(id="events")
        yield Footer()


class Top(App[None]):
    """Everything that the view knows is here; the widgets only draw it."""

    TITLE = "pgtandem top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "node", key_display="↑↓"),
        Binding("enter", "open", "its page"),
        Binding("plus,equals_sign", "span(1)", "longer", key_display="+"),
        Binding("minus", "span(-1)", "shorter", key_display="-"),
        Binding("space", "pause", "pause"),
    ]

    def __init__(self, topology: Topology, look: Look, tail: Tail, first: Observed, *, seconds: float) -> None:
        super().__init__(ansi_color=True)
        self.topology = topology
        self.tail = tail
        self.samples = Samples()
        self.chronicle = Chronicle(topology)
        self.seconds = seconds
        self.span = SPANS[0]
        self.paused = False
        self.observed: Observed
        self.health: ClusterHealth
        self._look = look
        self.take(first)
        standbys = [node.name for node in self.health.nodes if node.role == "standby"]
        self.selected: NodeName = standbys[0] if standbys else topology.names[0]

    def get_default_screen(self) -> Screen[None]:
        return Overview()

    def on_mount(self) -> None:
        self.run_worker(self._go_on(), exclusive=True, group="looks")

    def take(self, observed: Observed) -> None:
        """One more look. While paused, events and numbers are still kept."""
        health = cluster_health(self.topology, observed)
        self.samples.add(sample_of(self.topology, observed, health))
        self.chronicle.add(observed, health)
        if not self.paused:
            self.observed, self.health = observed, health

    def show(self) -> None:
        """Draws everything anew."""
        for screen in self.screen_stack:
            for widget in screen.query(".live"):
                widget.refresh(layout=True)
            if isinstance(screen, NodePage) and screen.is_mounted:
                screen.show()

    @property
    def moment(self) -> str:
        return time.strftime("%H:%M:%S", time.localtime(self.observed.now))

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self.seconds)
            self.take(await self._look())
            if not self.paused:
                self.show()

    # --- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What belongs to the first screen alone is neither shown nor done on another."""
        return action not in ("move", "open", "span") or isinstance(self.screen, Overview)

    def action_move(self, step: int) -> None:
        names = [node.name for node, _ in self.query_one(Tree).rows()]
        self.selected = names[(names.index(self.selected) + step) % len(names)]
        self.show()

    def action_open(self) -> None:
        self.push_screen(NodePage(self.selected))

    def action_span(self, step: int) -> None:
        self.span = SPANS[min(max(SPANS.index(self.span) + step, 0), len(SPANS) - 1)]
        self.show()

    def action_pause(self) -> None:
        self.paused = not self.paused
        self.show()
