"""The cluster as a drawing: a box per node, WAL as arrows from the left to the right, the archive below."""

from xml.etree.ElementTree import Element

from pgtandem.model.topology import Topology
from pgtandem.model.words import size_in_words
from pgtandem.observe.health import ClusterHealth, NodeHealth
from pgtandem.observe.tree import tree_of
from pgtandem.web.elements import el

_BOX_WIDE, _BOX_HIGH = 232, 92
_GAP_WIDE, _GAP_HIGH = 120, 20
_WELL = ("running", "streaming", "delayed")
#: Characters that fit in a box.
_FITS, _FITS_NAME = 34, 24
_NARROW, _WIDE = " .,:;'!|/()[]-ijltfr", "mwMW@%…—"


def drawing(topology: Topology, health: ClusterHealth) -> Element:
    """Every node below or beside the one that it streams from."""
    placed: dict[str, tuple[int, int]] = {}
    row, last = 0, -1
    for node, depth in tree_of(health):
        # A first downstream stands beside its upstream, every other one in a line of its own.
        row = row if depth == last + 1 and placed else (row + 1 if placed else 0)
        placed[node.name] = depth * (_BOX_WIDE + _GAP_WIDE) + 4, row * (_BOX_HIGH + _GAP_HIGH) + 4
        last = depth
    wide = max(x for x, _ in placed.values()) + _BOX_WIDE + 8
    high = max(y for _, y in placed.values()) + _BOX_HIGH + 8
    parts: list[Element] = []
    for node in health.nodes:
        if node.upstream in placed:
            parts += _arrow(placed[node.upstream], placed[node.name], node)
    for node in health.nodes:
        parts += _box(topology, node, *placed[node.name])
    if topology.archive and health.primary in placed:
        parts += _archive(topology, health, placed[health.primary], high)
        high += _GAP_HIGH + 52
    words = "; ".join(f"{node.name}: {node.role}, {node.state}" for node in health.nodes)
    return el(
        "svg",
        {
            "viewBox": f"0 0 {wide} {high}",
            "style": f"max-width: {wide}px",
            "class": "topology",
            "role": "img",
            "aria-label": words,
            "xmlns": "http://www.w3.org/2000/svg",
        },
        _arrowhead(),
        parts,
    )


def _arrowhead() -> Element:
    mark = {
        "id": "head",
        "viewBox": "0 0 10 10",
        "refX": 9,
        "refY": 5,
        "markerWidth": 7,
        "markerHeight": 7,
        "orient": "auto",
    }
    return el("defs", None, el("marker", dict(mark), el("path", {"d": "M0 0 10 5 0 10z", "class": "head"})))


def _box(topology: Topology, node: NodeHealth, x: int, y: int) -> list[Element]:
    well = node.state in _WELL
    kind = "primary" if node.role == "primary" and well else ("well" if well else "ill")
    wish = topology.node(node.name)
    host = "this machine" if wish.host.is_local else wish.host.url.removeprefix("ssh://").rpartition("@")[2]
    where = f"{host}, port {node.port}" + (f", {node.zone}" if node.zone else "")
    sync = f" ({node.sync_state})" if node.sync_state in ("sync", "quorum", "potential") else ""
    state = f"{'' if well else '! '}{node.role}, {node.state}{sync}"
    lag = "-" if node.lag_bytes is None else size_in_words(node.lag_bytes)
    timeline = "-" if node.timeline is None else str(node.timeline)
    facts = f"timeline {timeline}" + ("" if node.role == "primary" else f", {lag} behind")
    lines = (
        (22, "name", node.name, _FITS_NAME),
        (42, "state", state, _FITS),
        (60, "", facts, _FITS),
        (78, "", where, _FITS),
    )
    return [
        el("rect", {"x": x, "y": y, "width": _BOX_WIDE, "height": _BOX_HIGH, "rx": 6, "class": f"box {kind}"}),
        *(
            el(
                "text",
                {"x": x + 12, "y": y + down, "class": style or None},
                shortened(text, fits),
                el("title", None, text),
            )
            for down, style, text, fits in lines
        ),
    ]


def _arrow(start: tuple[int, int], end: tuple[int, int], node: NodeHealth) -> list[Element]:
    """From the upstream's right edge to the left edge of its downstream; broken where it does not stream."""
    from_x, from_y = start[0] + _BOX_WIDE, start[1] + _BOX_HIGH / 2
    to_x, to_y = end[0], end[1] + _BOX_HIGH / 2
    if to_x <= from_x:
        return []
    middle = (from_x + to_x) / 2
    flows = node.stages is not None
    path = f"M{from_x} {from_y}H{middle}V{to_y}H{to_x - 2}"
    style = f"arrow {'' if flows else 'cut'}".strip()
    label = "WAL" if flows else "no WAL"
    return [
        el("path", {"d": path, "class": style, "marker-end": "url(#head)"}),
        el("text", {"x": (middle + to_x) / 2, "y": to_y - 7, "class": "small middle"}, label),
    ]


def _archive(topology: Topology, health: ClusterHealth, start: tuple[int, int], top: float) -> list[Element]:
    assert topology.archive is not None
    y, failing = top + _GAP_HIGH - 8, "FAILING" in health.archive
    x = start[0] + 24
    text = topology.archive.directory
    return [
        el(
            "path",
            {
                "d": f"M{x} {start[1] + _BOX_HIGH}V{y - 2}",
                "class": "arrow cut" if failing else "arrow",
                "marker-end": "url(#head)",
            },
        ),
        el(
            "rect",
            {
                "x": start[0],
                "y": y,
                "width": _BOX_WIDE,
                "height": 48,
                "rx": 6,
                "class": f"box {'ill' if failing else 'well'}",
            },
        ),
        el(
            "text",
            {"x": start[0] + 12, "y": y + 20, "class": "state"},
            "! WAL archive, failing" if failing else "WAL archive",
        ),
        el("text", {"x": start[0] + 12, "y": y + 37}, shortened(text, _FITS), el("title", None, text)),
    ]


def shortened(text: str, fits: int) -> str:
    """The text as far as it fits; all of it is in the title and in the table. A page has no font of its own, so widths
    are those of a wide one."""
    if sum(map(_wide, text)) <= fits:
        return text
    room, kept = fits - _wide("…"), ""
    for letter in text:
        room -= _wide(letter)
        if room < 0:
            break
        kept += letter
    return f"{kept}…"


def _wide(letter: str) -> float:
    """In letters of the width that the boxes are reckoned in, 6 px at a size of 12."""
    return 0.7 if letter in _NARROW else 1.8 if letter in _WIDE else 1.15
