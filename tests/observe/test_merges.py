"""What is seen of copies that were being put together with a node's old data."""

import asyncio
import os
from pathlib import Path

import pytest

from pgtandem.adapters.hosts.local import LocalHost
from pgtandem.model.names import NodeName
from pgtandem.observe.merges import Merges, observe_merges

MARKERS = {
    "ours": '{"cluster": "shop", "node": "db2"}',
    "another's": '{"cluster": "shop", "node": "db3"}',
    "none": None,
}


def make(folder: Path, marker: str | None) -> None:
    (folder / "data/pgtandem").mkdir(parents=True)
    (folder / "data/PG_VERSION").write_text("15\n")
    if marker is not None:
        (folder / "data/pgtandem/node.json").write_text(marker)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)


@pytest.mark.parametrize("there", [False, True])
def test_what_is_cut_off_is_told_from_what_was_never_begun(open_tmp_path: Path, there: bool) -> None:
    for name, marker in MARKERS.items():
        make(open_tmp_path / f"db2.pgtandem-merge.{name}", marker)
    (open_tmp_path / "db2.pgtandem-merge.unused/new").mkdir(parents=True)
    make(open_tmp_path / "db22.pgtandem-merge.ours", MARKERS["ours"])
    path = str(open_tmp_path / "db2")
    found = asyncio.run(
        observe_merges(LocalHost(), sorted(os.listdir(open_tmp_path)), path, "shop", NodeName("db2"), there=there)
    )
    begun = (f"{path}.pgtandem-merge.none", f"{path}.pgtandem-merge.ours")
    unused = (f"{path}.pgtandem-merge.unused",)
    assert found == (Merges((), begun, unused) if there else Merges(begun, (), unused))
