"""What `bench durability` measured: a bar per level, and what an acknowledged commit can be lost by."""

import textwrap
from collections.abc import Sequence
from typing import Any

from pgtandem.apply.durability_bench import Measured, Wishes
from pgtandem.cli.terminal import Paint
from pgtandem.model.topology import Durability

_LABEL, _TPS, _LATENCY = 14, 9, 19


def bench_lines(
    measured: Sequence[Measured], configured: Durability, paint: Paint, columns: int, *, drawn: bool = True
) -> list[str]:
    """`drawn` says whether the output can show blocks."""
    most = max((each.run.tps for each in measured if each.run), default=0.0)
    room = max(columns - 2 - _LABEL - _TPS - _LATENCY, 8)
    heading = f"  {'durability':<{_LABEL}}{'tps':>7}  {'':<{room}}{'latency':>12}"
    lines = [paint.dim(heading.rstrip())]
    for each in measured:
        name, chosen = each.level.durability.value, each.level.durability is configured
        label = f"{'*' if chosen else ' '} {name:<{_LABEL}}"
        if each.run is None:
            lines += _wrapped(label, each.why, columns)
        else:
            run = each.run
            bar = ("█" if drawn else "#") * (round(run.tps / most * room) if most else 0)
            spread = "" if run.latency_stddev_ms is None else f" ± {run.latency_stddev_ms:.1f}"
            latency = f"{run.latency_ms:.1f}{spread} ms"
            lines.append(
                f"{label}{run.tps:>7.0f}  {paint.green(bar)}{' ' * (room - len(bar))}{latency:>{_LATENCY - 2}}"
            )
        if each.level.same_as is None:
            lines += [
                paint.dim(line) for line in _wrapped(" " * (_LABEL + 2), f"can lose: {each.level.loses}", columns)
            ]
    lines.append("* what the topology file says. ± is the standard deviation of the latency.")
    return lines


def _wrapped(label: str, text: str, columns: int) -> list[str]:
    lines = textwrap.wrap(text, max(columns - len(label), 20), break_long_words=False, break_on_hyphens=False)
    return [(label if number == 0 else " " * len(label)) + line for number, line in enumerate(lines)]


def bench_json(
    cluster: str, primary: str, wishes: Wishes, measured: Sequence[Measured], configured: Durability
) -> dict[str, Any]:
    return {
        "version": 1,
        "cluster": cluster,
        "primary": primary,
        "seconds": wishes.seconds,
        "clients": wishes.clients,
        "scale": wishes.scale,
        "configured": configured.value,
        "levels": [
            {
                "durability": each.level.durability.value,
                "tps": each.run.tps if each.run else None,
                "latency_ms": each.run.latency_ms if each.run else None,
                "latency_stddev_ms": each.run.latency_stddev_ms if each.run else None,
                "transactions": each.run.transactions if each.run else None,
                "can_lose": each.level.loses,
                "same_as": each.level.same_as.value if each.level.same_as else None,
                "not_run": each.why or None,
            }
            for each in measured
        ],
    }
