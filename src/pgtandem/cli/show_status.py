"""The status of a cluster on one screen."""

import textwrap

from pgtandem.cli.narrate import size_in_words
from pgtandem.cli.terminal import Paint
from pgtandem.model.observed import Observed
from pgtandem.model.topology import Topology
from pgtandem.observe.health import ClusterHealth, NodeHealth, cluster_health

_GOOD = ("running", "streaming")


def status_lines(topology: Topology, observed: Observed, paint: Paint, columns: int) -> list[str]:
    """What is wrong first, then a line per node as a tree, then durability and the archive."""
    health = cluster_health(topology, observed)
    lines = [paint.red(line) for problem in health.problems for line in _wrapped(problem, columns)]
    lines.append(paint.bold(f"cluster {health.cluster}") + f", PostgreSQL {topology.postgresql}")
    rows: list[tuple[str, ...]] = [("node", "role", "state", "follows", "TL", "lag", "replay", "port")]
    rows += [_row(node, depth) for node, depth in _tree(health)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if number == 0:
            text = paint.dim(text)
        elif row[2].partition(" (")[0] not in _GOOD:
            text = paint.red(text)
        lines.append(text)
    lines += textwrap.wrap(f"sync:     {health.synchronous}", columns, subsequent_indent=" " * 10)
    lines.append(f"archive:  {health.archive}")
    return lines


def _wrapped(problem: str, columns: int) -> list[str]:
    return textwrap.wrap(f"! {problem}", columns, subsequent_indent="  ")


def _tree(health: ClusterHealth) -> list[tuple[NodeHealth, int]]:
    """The nodes from the primary down, each with its depth; those that hang on nothing at the end."""
    names = {node.name for node in health.nodes}
    ordered: list[tuple[NodeHealth, int]] = []

    def below(upstream: str | None, depth: int) -> None:
        for node in health.nodes:
            parent = node.upstream if node.upstream in names else None
            if parent == upstream and all(node is not other for other, _ in ordered):
                ordered.append((node, depth))
                below(node.name, depth + 1)

    below(None, 0)
    placed = {node.name for node, _ in ordered}
    return ordered + [(node, 0) for node in health.nodes if node.name not in placed]


def _row(node: NodeHealth, depth: int) -> tuple[str, ...]:
    name = "  " * max(depth - 1, 0) + ("└ " if depth else "") + node.name
    state = node.state + (f" ({node.sync_state})" if node.sync_state in ("sync", "quorum", "potential") else "")
    return (
        name,
        node.role,
        state,
        node.upstream or "-",
        "-" if node.timeline is None else str(node.timeline),
        "-" if node.lag_bytes is None else size_in_words(node.lag_bytes),
        "-" if node.replay_lag_seconds is None else f"{node.replay_lag_seconds:.1f} s",
        str(node.port),
    )
