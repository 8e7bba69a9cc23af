"""The nodes in the order of a tree: each below the one that it streams from."""

from pgtandem.observe.health import ClusterHealth, NodeHealth


def tree_of(health: ClusterHealth) -> list[tuple[NodeHealth, int]]:
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
