"""report of a real pair, looked at in a real browser."""

import json
import re
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster
from support.servers import wait_until

pytestmark = pytest.mark.real

SECTIONS = ["wrong", "topology", "lag", "events", "findings", "durability", "archive", "settings"]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: Put into a copy of the page: what the browser made of it, as JSON.
MEASURE = """
<script>
const box = e => e.getBoundingClientRect();
const visible = e => box(e).width > 0 && box(e).height > 0;
const rects = [...document.querySelectorAll("svg.topology rect")].map(box);
const words = document.querySelectorAll("svg.topology text:not(.small)");
const texts = [...words].map(e => [box(e), e.textContent]);
const within = (t, r) => t.left >= r.left && t.right <= r.right && t.top >= r.top && t.bottom <= r.bottom;
const inside = ([t]) => rects.some(r => within(t, r));
const measured = {
  wide: document.documentElement.scrollWidth, window: window.innerWidth,
  sections: [...document.querySelectorAll("section")].filter(visible).map(e => e.id),
  boxes: rects.length, outside: texts.filter(t => !inside(t)).map(t => t[1]),
  lines: [...document.querySelectorAll("polyline")].filter(e => box(e).width > 0).length,
  charts: [...document.querySelectorAll("figure.chart > svg")].filter(visible).length,
  verdict: getComputedStyle(document.querySelector(".verdict")).color,
};
document.body.appendChild(document.createElement("pre")).textContent = "MEASURED" + JSON.stringify(measured) + "END";
</script>
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster(2, replication={"synchronous": "any 1"}) as cluster:
        cluster.up()
        yield cluster


def browse(page: Path, *arguments: str) -> str:
    done = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--disable-dev-shm-usage", f"--user-data-dir={page.parent / 'browser'}", *arguments, page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def measured(page: Path, wide: int) -> dict[str, Any]:
    copy = page.with_name("measured.html")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy.write_text(text.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    dom = browse(copy, f"--window-size={wide},900", "--dump-dom")
    found = re.search(r"MEASURED(\{.*\})END</pre>", dom)
    assert found, dom[-2000:]
    document: dict[str, Any] = json.loads(found[1].replace("&amp;", "&"))
    return document


def test_a_report_of_a_pair_in_a_browser_and_on_paper(pair: Cluster, tmp_path: Path) -> None:
    running = pair.start("report", "--for", "4s")
    pair.sql("db1", "CREATE TABLE much AS SELECT repeat('x', 500) FROM generate_series(1, 20000)")
    pair.stop_server("db3")
    done = running.end(120)
    pair.up()
    assert done.exit_code == 0, done.said
    assert done.out == "wrote report.html\n"
    assert done.err == ""
    page = tmp_path / "report.html"
    shutil.copy(pair.folder / "report.html", page)
    text = page.read_text(encoding="utf-8")
    assert "db3 is stopped" in text
    assert pair.password() not in text
    if BROWSER is None:
        pytest.skip("chromium is not installed: the page was not looked at in a browser")
    for wide in (1200, 500):
        seen = measured(page, wide)
        assert seen["wide"] <= seen["window"], f"nothing is wider than a window of {wide}"
        assert seen["sections"] == SECTIONS
        assert seen["boxes"] == 4
        assert seen["outside"] == [], "every text of the drawing is inside its box"
        assert seen["charts"] >= 3
        assert seen["lines"] >= 5
        assert seen["verdict"] == "rgb(179, 38, 30)", "the style is applied"
    picture = tmp_path / "report.png"
    browse(page, "--window-size=1100,1600", f"--screenshot={picture}")
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == (1100, 1600)
    assert len(picture.read_bytes()) > 40_000, "it is not blank"
    paper = tmp_path / "report.pdf"
    browse(page, f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) <= 12


def test_only_what_is_a_report_is_written_over(pair: Cluster) -> None:
    other = pair.folder / "precious.html"
    other.write_text("<p>mine</p>")
    assert "pgtandem did not make" in pair.run("report", "--for", "0", "-o", "precious.html").refused("PT-1009", 10)
    assert other.read_text() == "<p>mine</p>"
    pair.run("report", "--for", "0", "-o", "nowhere/report.html").refused("PT-1009", 10)
    earlier = pair.ok("report", "--for", "0", "-o", "-").out
    assert earlier.startswith("<!DOCTYPE html>")
    assert "looked at only once" in earlier
    twice = pair.folder / "twice.html"
    twice.write_text(earlier + "<!-- the earlier one -->\n")
    pair.ok("report", "--for", "0", "-o", "twice.html")
    assert twice.read_text().startswith("<!DOCTYPE html>")
    assert "the earlier one" not in twice.read_text()
    assert not list(pair.folder.glob(".pgtandem-*"))


def test_a_time_that_is_none_is_refused_and_ctrl_c_writes_nothing(pair: Cluster) -> None:
    for wrong in ("soon", "3days", "25h", ""):
        assert f'"{wrong}" is not a time' in pair.run("report", "--for", wrong).refused("PT-1006", 10)
    running = pair.start("report", "--for", "1h", "-o", "never.html")
    asking = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgtandem'"
    wait_until(lambda: pair.sql("db1", asking) > 0 or not running.alive, "it looks", 30)
    running.process.send_signal(signal.SIGINT)
    done = running.end(30)
    assert done.exit_code in (130, -signal.SIGINT), done.said
    assert not (pair.folder / "never.html").exists()
