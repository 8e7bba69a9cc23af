"""Which history files a node that parted may still archive."""

import asyncio
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.apply.unarchived import began_before
from pgtandem.model.lsn import Lsn


@pytest.mark.parametrize(
    ("text", "is_shared"),
    [
        ("1\t0/3000000\tx\n2\t0/4FFFFF8\tx\n", True),
        ("1\t0/3000000\tx\n2\t0/5000000\tx\n", False),
        ("1\t0/3000000\tx\n2\t0/5000028\tx\n", False),
        ("", False),
        ("what\n", False),
        (None, False),
    ],
    ids=["of before", "begun where the others left it too", "begun later", "empty", "no history", "gone"],
)
def test_only_that_of_a_timeline_that_the_others_share(open_tmp_path: Path, text: str | None, is_shared: bool) -> None:
    if text is not None:
        (open_tmp_path / "00000003.history").write_text(text)
    found = asyncio.run(began_before(LocalHost(), str(open_tmp_path), "00000003.history", Lsn.parse("0/5000000")))
    assert found is is_shared
