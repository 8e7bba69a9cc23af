"""The report as a page: what is on it, that it stands alone, and that nothing on it can become markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree.ElementTree import Element

import pytest

from cli import values
from cli.values import DB1, DB2, DIAGNOSED, DIAGNOSED_LOOK, PAIR, TRIO, built, node, topology
from pgtandem.doctor.diagnose import diagnose
from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Severity
from pgtandem.model.examined import Examined
from pgtandem.model.facts import Unknown
from pgtandem.model.lsn import Lsn
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed, ObservedNode
from pgtandem.model.server import Setting
from pgtandem.model.topology import Topology
from pgtandem.observe.events import Event
from pgtandem.observe.health import cluster_health
from pgtandem.observe.samples import NodeSample, Sample
from pgtandem.web.drawing import drawing
from pgtandem.web.report import Material, report

SECTIONS = ["wrong", "topology", "lag", "events", "findings", "durability", "archive", "settings"]
SAMPLES = tuple(
    Sample(
        1_800_000_000.0 + second,
        Lsn(0x2000000 + 5_000_000 * second),
        {DB2: NodeSample(None if second == 3 else (0, 10, 20, 1000 * second), 1000 * second, float(second))},
    )
    for second in range(8)
)


def material(of: Topology = PAIR, observed: Observed = values.CAUGHT_UP, *, events: tuple[Event, ...] = ()) -> Material:
    look = Look(of, replace(observed, now=1_800_000_010.0), Examined({}))
    return Material(look, diagnose(look), SAMPLES, events)


class Page(HTMLParser):
    """Elements by their tag with their attributes, the text of each section, and every text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self._in = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("section", "header"):
            self._in = dict(attrs).get("id") or tag

    def handle_data(self, data: str) -> None:
        self.sections[self._in] = self.sections.get(self._in, "") + data + " "

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def test_every_section_is_there_in_its_order() -> None:
    page = Page(report(material()))
    assert [attrs["id"] for tag, attrs in page.elements if tag == "section"] == SECTIONS
    calm = Page(report(replace(material(), findings=())))
    assert "Nothing is wrong now; no trap was found." in calm.sections["header"]
    assert "Cluster shop" in page.sections["header"]


def test_a_cluster_that_works_and_has_a_grave_trap_is_not_called_well() -> None:
    grave = tuple(finding for finding in DIAGNOSED[1] if finding.severity is Severity.CRITICAL)
    page = Page(report(replace(material(), findings=grave)))
    (verdict,) = [attributes for tag, attributes in page.elements if attributes.get("id") == "verdict"]
    assert "ill" in (verdict["class"] or "")
    assert "Every node works now; 3 findings of doctor, the gravest critical." in page.sections["header"]
    assert "What may go wrong" in page.sections["wrong"]


def test_the_page_needs_nothing_from_anywhere_and_runs_nothing() -> None:
    text = report(Material(*DIAGNOSED, SAMPLES, ()))
    page = Page(text)
    assert not page.tags() & {"script", "link", "img", "iframe", "object", "embed", "form", "a", "base"}
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "href", "action", "data")
            assert "//" not in (value or "") or name == "xmlns"
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = [attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def test_what_servers_say_stays_text() -> None:
    evil = '</title></style><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\x1b[31m\x00'
    away = ObservedNode(*(Unknown(evil),) * 8)
    odd = built("db1", 5432, primary=True, settings={"archive_command": Setting(evil, "configuration file", evil)})
    text = report(material(PAIR, Observed({DB1: odd, DB2: away}), events=(Event(1.0, True, evil),)))
    page = Page(text)
    assert not page.tags() & {"script", "img"}
    assert "<script>alert(1)</script>" in page.sections["wrong"]
    assert "<script>" in page.sections["settings"]
    assert "<script>" in page.sections["events"]
    assert "\x1b" not in text
    assert "\x00" not in text


def test_passwords_are_not_on_the_page() -> None:
    settings = {
        "primary_conninfo": Setting("host=a password='ge heim' user=x"),
        "restore_command": Setting("x://u:pw@h"),
    }
    text = report(material(PAIR, Observed({DB1: built("db1", 5432, primary=True, settings=settings), DB2: away()})))
    assert "ge heim" not in text
    assert "pw@h" not in text
    assert "password=****" in text


def away() -> ObservedNode:
    return ObservedNode(*(Unknown("connection timed out"),) * 8)


def test_findings_stand_with_their_reason_and_their_fix() -> None:
    page = Page(report(Material(*DIAGNOSED, SAMPLES, ())))
    said = page.sections["findings"]
    for finding in DIAGNOSED[1]:
        assert finding.rule.id in said
        assert finding.seen.what in said
        assert finding.rule.why in said
        assert finding.fix in said
    groups = {(finding.rule.id, finding.severity) for finding in DIAGNOSED[1]}
    assert sum(tag == "article" for tag, _ in page.elements) == len(groups)
    assert "Not looked at: db2" in said


def test_what_is_wrong_what_happened_and_what_a_failure_means_are_told() -> None:
    happened = (Event(1_800_000_004.0, True, "db2 is stopped, it was streaming"),)
    page = Page(report(material(PAIR, values.STANDBY_STOPPED, events=happened)))
    assert "db2 is stopped" in page.sections["wrong"]
    assert "! db2 is stopped, it was streaming" in page.sections["events"]
    assert "db1 fails" in page.sections["durability"]
    assert "commits that no standby had received yet" in page.sections["durability"]
    assert "things are wrong" in page.sections["header"] or "thing is wrong" in page.sections["header"]


def test_a_gap_in_what_is_known_is_a_gap_in_the_line() -> None:
    page = Page(report(material()))
    lines = [attributes for tag, attributes in page.elements if tag == "polyline"]
    by_stage = [len((line["points"] or "").split()) for line in lines[:8]]
    assert by_stage == [3, 4] * 4
    assert len({line.get("stroke-dasharray") for line in lines[:8:2]}) == 4, "told apart without colours"


def test_a_single_look_has_no_plots() -> None:
    page = Page(report(replace(material(), samples=SAMPLES[:1])))
    assert "polyline" not in page.tags()
    assert "looked at only once" in page.sections["lag"]


@pytest.mark.parametrize("standbys", [0, 1, 2, 7])
def test_boxes_of_the_drawing_lie_apart_and_inside(standbys: int) -> None:
    names = [f"db{number}" for number in range(1, standbys + 2)]
    nodes = [node(name, 5432 + at, upstream="db2" if at in (3, 4) else None) for at, name in enumerate(names)]
    seen = {NodeName(name): built(name, 5432, primary=name == "db1") for name in names}
    svg = drawing(topology(*nodes), cluster_health(topology(*nodes), Observed(seen)))
    boxes = [_box(rect) for rect in svg.iter("rect")]
    assert len(boxes) == len(names) + 1, "and the archive"
    _, _, wide, high = map(float, (svg.get("viewBox") or "").split())
    for at, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert y >= 0
        assert x + w <= wide
        assert y + h <= high
        for other in boxes[:at]:
            apart = x + w <= other[0] or other[0] + other[2] <= x or y + h <= other[1] or other[1] + other[3] <= y
            assert apart, (boxes[at], other)


def _box(rect: Element) -> tuple[float, float, float, float]:
    x, y, wide, high = (float(rect.get(key) or 0) for key in ("x", "y", "width", "height"))
    return x, y, wide, high


def test_a_slow_trio_and_one_that_is_not_built_have_a_page() -> None:
    for of, look in (
        (TRIO, values.SLOW),
        (PAIR, values.NOTHING_BUILT),
        (DIAGNOSED_LOOK.topology, DIAGNOSED_LOOK.observed),
    ):
        text = report(material(of, look))
        assert re.search(r"^<!DOCTYPE html>\n<html", text)
        assert text.rstrip().endswith("</html>")
