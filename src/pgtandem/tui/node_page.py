"""A node's own page: settings that differ from the default, the end of its log, its facts."""

import asyncio
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from pgtandem.model.facts import Unknown, value_or_none
from pgtandem.model.names import NodeName
from pgtandem.model.observed import ObservedNode
from pgtandem.model.words import duration_in_words, size_in_words
from pgtandem.observe.settings_shown import changed_settings

if TYPE_CHECKING:
    from pgtandem.tui.app import Top

PAGES = ("settings", "log", "facts")
_LOG_EVERY_SECONDS = 2.0


class NodePage(Screen[None]):
    """Three pages of one node; left and right go through them."""

    DEFAULT_CSS = """
    NodePage { layout: vertical; background: transparent; }
    NodePage #title { height: 1; text-style: bold; }
    NodePage VerticalScroll { height: 1fr; background: transparent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", "back"),
        Binding("s", "page('settings')", "settings"),
        Binding("l", "page('log')", "log"),
        Binding("f", "page('facts')", "facts"),
        Binding("right,tab", "turn(1)", "next", show=False, priority=True),
        Binding("left,shift+tab", "turn(-1)", "previous", show=False, priority=True),
    ]

    def __init__(self, name: NodeName) -> None:
        super().__init__()
        self.node_name = name
        self.page = PAGES[0]
        self._log: tuple[str, tuple[str, ...]] | None = None

    @property
    def top(self) -> "Top":
        return cast("Top", self.app)

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        with VerticalScroll():
            yield Static(id="body")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.show()

    def show(self) -> None:
        others = "  ".join(f"[{page}]" if page == self.page else page for page in PAGES)
        health = next(node for node in self.top.health.nodes if node.name == self.node_name)
        title = f"{self.node_name}  {health.role}, {health.state}   {others}"
        self.query_one("#title", Static).update(Text(title, no_wrap=True, overflow="ellipsis"))
        seen = self.top.observed.nodes[self.node_name]
        text = {"settings": self._settings, "log": self._log_text, "facts": self._facts}[self.page](seen)
        self.query_one("#body", Static).update(text)

    def action_page(self, page: str) -> None:
        self.page = page
        self.workers.cancel_group(self, "log")
        self.query_one(VerticalScroll).scroll_home(animate=False)
        if page == "log":
            self.run_worker(self._follow(), exclusive=True, group="log")
        self.show()

    def action_turn(self, step: int) -> None:
        self.action_page(PAGES[(PAGES.index(self.page) + step) % len(PAGES)])

    async def _follow(self) -> None:
        """Reads the end of the log again and again, and stays at its end unless somebody scrolled up."""
        scroll = self.query_one(VerticalScroll)
        first = True
        while True:
            at_end = first or scroll.scroll_y >= scroll.max_scroll_y - 1
            self._log = await self.top.tail(self.node_name, self.top.observed)
            self.show()
            if at_end:
                self.call_after_refresh(scroll.scroll_end, animate=False)
            first = False
            await asyncio.sleep(_LOG_EVERY_SECONDS)

    def _settings(self, seen: ObservedNode) -> Text:
        server = seen.running
        if server is None:
            return Text(_why(seen))
        text = Text()
        settings = changed_settings(server)
        pending = [each.name for each in settings if each.pending]
        if pending:
            text.append(f"! after a restart only: {', '.join(pending)}\n\n", style="bold red")
        wide = max((len(each.name) for each in settings), default=0)
        for each in settings:
            text.append(f"{each.name:<{wide}}  ", style="bold" if each.pending else "")
            text.append(f"{each.value or repr('')}")
            text.append(f"   {each.where}{', after a restart only' if each.pending else ''}\n", style="dim")
        return text

    def _log_text(self, seen: ObservedNode) -> Text:
        if self._log is None:
            return Text("reading ...")
        path, lines = self._log
        if not path:
            return Text(f"its log cannot be shown: {lines[0]}")
        text = Text()
        text.append(f"{path}\n", style="bold")
        for line in lines:
            grave = any(word in line for word in ("ERROR:", "FATAL:", "PANIC:"))
            text.append(_printable(line) + "\n", style="bold red" if grave else "")
        return text

    def _facts(self, seen: ObservedNode) -> Text:
        node, server, disk = self.top.topology.node(self.node_name), seen.running, value_or_none(seen.disk)
        health = next(each for each in self.top.health.nodes if each.name == self.node_name)
        facts = {
            "host": node.host.url,
            "address": f"{node.address}:{health.port}",
            "zone": node.zone or "-",
            "data directory": node.data_directory,
            "follows": health.upstream or "-",
        }
        if server is None:
            facts["server"] = _why(seen)
        else:
            control = seen.control
            facts |= {
                "version": str(server.version_number // 10000) + f".{server.version_number % 10000}",
                "system identifier": server.system_identifier,
                "timeline": str(server.timeline),
                "written up to": str(server.current_lsn or "-"),
                "received up to": str(server.receive_lsn or "-"),
                "replayed up to": str(server.replay_lsn or "-"),
                "replay is paused": "yes" if server.replay_paused else "no",
                "databases": size_in_words(server.size_bytes),
                "checksums": "-" if control is None else ("on" if control.checksums else "off"),
            }
            for slot in server.slots.values():
                held = "nothing held" if slot.held_bytes is None else f"{size_in_words(slot.held_bytes)} held"
                facts[f"slot {slot.name}"] = f"{'in use' if slot.active else 'NOT IN USE'}, {held}"
            for sender in server.senders:
                facts[f"sends to {sender.application_name or '?'}"] = f"{sender.state}, {sender.sync_state}"
            if server.archiver and not server.in_recovery:
                age = server.archiver.last_archived_age_seconds
                facts["archived last"] = (
                    "never" if age is None else f"{server.archiver.last_archived_wal}, {duration_in_words(age)} ago"
                )
        if disk:
            facts["disk"] = f"{size_in_words(disk.free_bytes)} free of {size_in_words(disk.total_bytes)}"
        wide = max(map(len, facts))
        return Text("\n".join(f"{key:<{wide}}  {value}" for key, value in facts.items()))


def _why(seen: ObservedNode) -> str:
    for fact in (seen.reachable, seen.data, seen.postmaster, seen.server):
        if isinstance(fact, Unknown):
            return f"its server was not asked: {fact.sentence}"
    return "its server does not run"


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
