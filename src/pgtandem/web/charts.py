"""Lines over time as SVG. Each line has its own dash pattern, so that it can be told apart in grey as well."""

import time
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from pgtandem.observe.samples import Series
from pgtandem.web.elements import el

_WIDE, _HIGH = 720, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 8, 10, 24
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "1 4", "12 4")
COLOURS = ("#0b61a4", "#c2570c", "#2f7d32", "#8a2be2", "#5f6368", "#a8324a")


def chart(
    title: str, lines: Sequence[tuple[str, Series]], times: Sequence[float], top: float, say: Callable[[float], str]
) -> Element:
    """One plot; `times` are the moments (seconds since 1970) of every value, `top` the value at the upper edge."""
    begin, end = times[0], max(times[-1], times[0] + 1)

    def x(at: float) -> float:
        return _LEFT + (at - begin) / (end - begin) * (_WIDE - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HIGH - _BOTTOM - min(value / top, 1) * (_HIGH - _TOP - _BOTTOM)

    drawn: list[Element] = []
    for part in (0, 0.5, 1):
        at = y(top * part)
        drawn.append(el("line", {"x1": _LEFT, "x2": _WIDE - _RIGHT, "y1": at, "y2": at, "class": "grid"}))
        drawn.append(el("text", {"x": _LEFT - 6, "y": at + 4, "class": "axis end"}, say(top * part)))
    for part, where in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        moment = begin + (end - begin) * part
        clock = time.strftime("%H:%M:%S", time.localtime(moment))
        drawn.append(el("text", {"x": x(moment), "y": _HIGH - 6, "class": f"axis {where}"}, clock))
    for number, (name, values) in enumerate(lines):
        for piece in _pieces(times, values):
            points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in piece)
            drawn.append(
                el(
                    "polyline",
                    {
                        "points": points,
                        "stroke": COLOURS[number % len(COLOURS)],
                        "stroke-dasharray": _DASHES[number % len(_DASHES)],
                        "class": "line",
                    },
                    el("title", None, name),
                )
            )
    legend = [_legend(name, values, number, say) for number, (name, values) in enumerate(lines)]
    return el(
        "figure",
        {"class": "chart"},
        el("figcaption", None, title),
        el(
            "svg",
            {
                "viewBox": f"0 0 {_WIDE} {_HIGH}",
                "role": "img",
                "aria-label": title,
                "xmlns": "http://www.w3.org/2000/svg",
            },
            drawn,
        ),
        el("ul", {"class": "legend"}, legend),
    )


def _pieces(times: Sequence[float], values: Series) -> list[list[tuple[float, float]]]:
    """Stretches without a gap; a single value is drawn as a short line."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for at, value in zip(times, values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((at, value))
    return [piece if len(piece) > 1 else [piece[0], (piece[0][0] + 0.3, piece[0][1])] for piece in pieces if piece]


def _legend(name: str, values: Series, number: int, say: Callable[[float], str]) -> Element:
    known = [value for value in values if value is not None]
    text = f"{name}: at most {say(max(known))}, at the end {say(known[-1])}" if known else f"{name}: not known"
    sample = el(
        "svg",
        {"viewBox": "0 0 28 8", "width": 28, "height": 8, "aria-hidden": "true"},
        el(
            "line",
            {
                "x1": 0,
                "x2": 28,
                "y1": 4,
                "y2": 4,
                "stroke": COLOURS[number % len(COLOURS)],
                "stroke-dasharray": _DASHES[number % len(_DASHES)],
                "class": "line",
            },
        ),
    )
    return el("li", None, sample, f" {text}")
