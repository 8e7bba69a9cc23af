"""The live view, driven by its keys."""

import asyncio
import html
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cli import values
from cli.values import DB1, DB2, PAIR, TRIO, built, sender, stopped
from pgtandem.model.facts import Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.server import Setting
from pgtandem.model.topology import Topology
from pgtandem.tui.app import SPANS, Top

CONFIGURED = {
    "work_mem": Setting("65536", "configuration file", "/srv/shop/data/db2/pgtandem/settings.conf"),
    "max_connections": Setting("100", "configuration file", "/srv/shop/data/db2/postgresql.conf", True),
    "fsync": Setting("on", "default"),
    "primary_conninfo": Setting("host=10.0.0.1 password=geheim", "configuration file", "/x/postgresql.auto.conf"),
}
WELL = Observed(
    {
        DB1: built("db1", 5432, primary=True, sends=(sender("db2"),)),
        DB2: built("db2", 5433, settings=CONFIGURED),
    },
    now=1_800_000_000.0,
)
LOG = ("/srv/shop/data/db2.log", ("LOG:  started streaming", "ERROR:  relation does not exist", "odd \x1b[31mline"))


class Driver:
    """The app with looks that a test gives, at a size."""

    def __init__(
        self, first: Observed = WELL, topology: Topology = PAIR, size: tuple[int, int] = (80, 24), log: object = LOG
    ) -> None:
        async def look() -> Observed:
            await asyncio.sleep(0)
            return self.next

        async def tail(name: NodeName, observed: Observed) -> tuple[str, tuple[str, ...]]:
            return log  # type: ignore[return-value]

        self.next = first
        self.size = size
        self.app = Top(topology, look, tail, first, seconds=3600)

    def run(self, scenario: "Callable[[Driver], Awaitable[None]]") -> None:
        async def begin() -> None:
            async with self.app.run_test(size=self.size) as self.pilot:
                await self.pilot.pause()
                await scenario(self)

        asyncio.run(begin())

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def look(self, observed: Observed) -> None:
        """One more look, a second later."""
        self.next = replace(observed, now=self.app.observed.now + 1)
        self.app.take(self.next)
        self.app.show()
        await self.pilot.pause()

    def lines(self) -> list[str]:
        """What is on the screen."""
        drawing = re.sub(r'<text class="[^"]*-title".*?</text>', "", self.app.export_screenshot())
        cells: dict[float, list[tuple[float, str]]] = {}
        for x, y, text in re.findall(r'<text [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', drawing):
            cells.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
        wide = 12.2
        lines = []
        for _, row in sorted(cells.items()):
            line = ""
            for x, text in sorted(row):
                line = line.ljust(round(x / wide)) + text
            lines.append(line.rstrip())
        return lines

    def text(self) -> str:
        return "\n".join(self.lines())


def drive(scenario: Callable[[Driver], Awaitable[None]], **options: object) -> None:
    Driver(**options).run(scenario)  # type: ignore[arg-type]


def test_one_screen_shows_the_tree_the_plots_and_what_happens() -> None:
    async def scenario(at: Driver) -> None:
        text = at.text()
        assert "cluster shop  PostgreSQL 18" in text
        assert re.search(r"^  db1 +primary +running +1 +0 B +0\.0 s$", text, re.MULTILINE)
        assert re.search(r"^> └ db2 +standby +streaming +1 +0 B +0\.0 s$", text, re.MULTILINE), "the standby is chosen"
        assert "lag of db2 by stage, last 60 s" in text
        for stage in ("to send", "to write", "to flush", "to replay", "WAL written"):
            assert f"\n{stage}" in text
        assert "what happened since the view was opened" in text
        assert "q quit" in text
        assert max(map(len, at.lines())) <= 80

    drive(scenario)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 14)])
def test_it_fits_at_every_size(size: tuple[int, int]) -> None:
    look = replace(values.SLOW, nodes={**values.SLOW.nodes, DB2: stopped("db2")})

    async def scenario(at: Driver) -> None:
        await at.look(look)
        lines = at.lines()
        assert max(map(len, lines)) <= size[0]
        assert len(lines) <= size[1]
        assert any(line.startswith("> └ db2") for line in lines)
        assert any("WAL written" in line for line in lines)

    drive(scenario, first=replace(look, now=1_800_000_000.0), topology=TRIO, size=size)


SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("colour", [True, False])
def test_each_page_is_as_in_its_snapshot(colour: bool, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without colour it says the same; PGTANDEM_REWRITE=1 writes them anew."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")

    async def scenario(at: Driver) -> None:
        await at.look(WELL)
        for page, key in (("tree", ""), ("settings", "enter"), ("log", "l"), ("facts", "f")):
            await at.press(*key.split())
            text = "\n".join(line.rstrip() for line in at.lines()) + "\n"
            path = SNAPSHOTS / f"{page}-{size[0]}.txt"
            if os.environ.get("PGTANDEM_REWRITE"):
                path.write_text(text, encoding="utf-8")
            assert text == path.read_text(encoding="utf-8"), "if that is wanted: PGTANDEM_REWRITE=1"

    drive(scenario, size=size)


def test_what_is_slow_is_high_where_it_is_slow() -> None:
    async def scenario(at: Driver) -> None:
        await at.look(values.SLOW)
        lines = at.lines()
        row = next(number for number, line in enumerate(lines) if line.startswith("to replay"))
        assert "118.0 MB" in lines[row + 1]
        assert "█" in lines[row + 1]
        row = next(number for number, line in enumerate(lines) if line.startswith("to flush"))
        assert "  0 B" in lines[row + 1]
        assert "█" not in lines[row + 1]

    drive(scenario, first=replace(values.SLOW, now=1.0), topology=TRIO)


def test_what_is_wrong_comes_first_and_what_happened_with_its_time() -> None:
    async def scenario(at: Driver) -> None:
        await at.look(Observed({DB1: built("db1", 5432, primary=True), DB2: stopped("db2")}))
        lines = at.lines()
        assert lines[2] == "! db2 is stopped"
        assert re.match(r"! \d\d:\d\d:\d\d  db2 is stopped, it was streaming", next(x for x in lines if "it was" in x))
        assert "lag of db2 by stage: it is stopped, last 60 s" in at.text()
        await at.look(WELL)
        assert "db2 is back: streaming" in at.text()
        assert "! db2" not in at.text().split("what happened")[0]

    drive(scenario)


def test_arrows_choose_a_node_and_plus_and_minus_the_time() -> None:
    async def scenario(at: Driver) -> None:
        await at.press("up")
        assert "> db1" in at.text()
        assert "lag of each standby behind the primary, last 60 s" in at.text()
        await at.press("down", "plus")
        assert "lag of db2 by stage, last 5 min" in at.text()
        await at.press("plus", "plus", "plus", "plus")
        assert at.app.span == SPANS[-1]
        await at.press(*["minus"] * 9)
        assert at.app.span == SPANS[0]

    drive(scenario)


def test_while_paused_the_view_stands_still_and_nothing_is_missed() -> None:
    async def scenario(at: Driver) -> None:
        await at.press("space")
        assert "PAUSED" in at.text()
        await at.look(Observed({DB1: built("db1", 5432, primary=True), DB2: stopped("db2")}))
        assert "! db2 is stopped\n" not in at.text()
        await at.press("space")
        await at.look(WELL)
        assert "it was streaming" in at.text()

    drive(scenario)


def test_a_nodes_page_shows_changed_settings_what_waits_for_a_restart_and_no_password() -> None:
    async def scenario(at: Driver) -> None:
        await at.press("enter")
        text = at.text()
        assert "db2  standby, streaming   [settings]  log  facts" in text
        assert "! after a restart only: max_connections" in text
        assert re.search(r"work_mem +64MB +pgtandem", text)
        assert "fsync" not in text
        assert "password=****" in text
        assert "geheim" not in text
        assert "its page" not in text, "keys of the first screen are not offered"
        await at.press("escape")
        assert "lag of db2" in at.text()

    drive(scenario)


def test_a_nodes_page_shows_the_end_of_its_log_and_its_facts() -> None:
    async def scenario(at: Driver) -> None:
        await at.press("enter", "l")
        await at.pilot.pause(0.1)
        text = at.text()
        assert "/srv/shop/data/db2.log" in text
        assert "ERROR:  relation does not exist" in text
        assert "odd \\x1b[31mline" in text
        await at.press("right")
        assert re.search(r"data directory +/srv/shop/data/db2", at.text())
        await at.press("left", "left")
        assert "[settings]" in at.text()

    drive(scenario)


def test_a_log_that_cannot_be_read_and_a_node_that_is_away_are_told() -> None:
    async def scenario(at: Driver) -> None:
        await at.press("enter", "l")
        await at.pilot.pause(0.1)
        assert "its log cannot be shown: Permission denied" in at.text()
        await at.press("s")
        away = ObservedNode(*(Unknown("connection timed out"),) * 8)
        await at.look(Observed({DB1: WELL.nodes[DB1], DB2: away}))
        assert "its server was not asked: Connection timed out." in at.text()

    drive(scenario, log=("", ("Permission denied",)))


@pytest.mark.parametrize("keys", [["q"], ["enter", "ctrl+c"]])
def test_it_is_left_from_everywhere(keys: Sequence[str]) -> None:
    async def scenario(at: Driver) -> None:
        await at.press(*keys)
        assert at.app.return_code == 0

    drive(scenario)
