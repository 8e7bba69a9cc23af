"""The pages of docs, read as sections and tables."""

import re
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """What stands below each heading of the second level, by its title without backquotes; "" is the beginning."""
    beginning, *rest = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    titles = [title.replace("`", "") for title in rest[::2]]
    assert len(set(titles)) == len(titles)
    return {"": beginning, **dict(zip(titles, rest[1::2], strict=True))}


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without headings. A bar in a cell is written as \\|."""
    lines = [*text.splitlines(), ""]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line, following in pairwise(lines)
        if line.startswith("| ") and not following.startswith("|--")
    ]
