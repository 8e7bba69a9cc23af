"""The durability benchmark as an SVG picture that stands alone."""

import textwrap
from collections.abc import Sequence
from xml.etree.ElementTree import Element, tostring

from pgtandem.apply.durability_bench import Measured
from pgtandem.model.topology import Durability
from pgtandem.web.elements import el

#: By this a picture is known, and may be replaced by a newer one.
MARK = "drawn by pgtandem bench"

_WIDE, _ROW, _LEFT, _TOP = 860, 74, 130, 84
_STYLE = """
text { font: 13px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #1b1f24; }
.title { font-size: 18px; font-weight: 700; } .soft { fill: #57606a; font-size: 12px; }
.level { font-weight: 700; font-size: 14px; } .bar { fill: #0b61a4; } .chosen { fill: #1a7f37; }
"""


def bench_drawing(title: str, subtitle: str, measured: Sequence[Measured], configured: Durability) -> str:
    most = max((each.run.tps for each in measured if each.run), default=1.0) or 1.0
    parts: list[Element] = []
    for number, each in enumerate(measured):
        y = _TOP + number * _ROW
        chosen = each.level.durability is configured
        parts.append(
            el(
                "text",
                {"x": _LEFT - 12, "y": y + 16, "class": "level", "text-anchor": "end"},
                each.level.durability.value,
            )
        )
        if chosen:
            parts.append(
                el("text", {"x": _LEFT - 12, "y": y + 33, "class": "soft", "text-anchor": "end"}, "configured")
            )
        if each.run is None:
            parts.append(el("text", {"x": _LEFT, "y": y + 16}, each.why))
        else:
            wide = each.run.tps / most * (_WIDE - _LEFT - 230)
            figures = f"{each.run.tps:.0f} per second, {each.run.latency_ms:.1f} ms each"
            style = "bar chosen" if chosen else "bar"
            parts.append(
                el("rect", {"x": _LEFT, "y": y, "width": f"{wide:.1f}", "height": 22, "rx": 2, "class": style})
            )
            parts.append(el("text", {"x": f"{_LEFT + wide + 8:.1f}", "y": y + 16}, figures))
        if each.level.same_as is None:
            for line, text in enumerate(textwrap.wrap(f"can lose: {each.level.loses}", 105)[:2]):
                parts.append(el("text", {"x": _LEFT, "y": y + 40 + line * 15, "class": "soft"}, text))
    high = _TOP + len(measured) * _ROW
    root = el(
        "svg",
        {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_WIDE} {high}", "width": _WIDE, "height": high},
        el("desc", None, MARK),
        el("style", None, _STYLE),
        el("rect", {"width": _WIDE, "height": high, "fill": "#ffffff"}),
        el("text", {"x": 24, "y": 36, "class": "title"}, title),
        el("text", {"x": 24, "y": 58, "class": "soft"}, subtitle),
        parts,
    )
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"
