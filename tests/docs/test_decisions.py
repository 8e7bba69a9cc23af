"""Decision records: each has a number of its own, which its title repeats, and stands in the list."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"


def test_each_record_has_its_own_number_and_stands_in_the_list() -> None:
    records = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
    numbers = [path.name[:4] for path in records]
    assert numbers == sorted(set(numbers))
    for path in records:
        assert path.read_text(encoding="utf-8").startswith(f"# {path.name[:4]} "), path.name
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \|", text, re.MULTILINE)
    assert listed == [(path.name[:4], path.name) for path in records]
