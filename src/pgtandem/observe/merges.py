"""Copies that were being put together with a node's old data when something cut that off."""

import posixpath
from collections.abc import Sequence

from pgtandem.model.names import NodeName
from pgtandem.model.observed import Marker
from pgtandem.model.value import dataclass
from pgtandem.observe.directory import observe_marker
from pgtandem.observe.paths import is_merge
from pgtandem.ports import Host
from pgtandem.postgres.merge_program import MERGING


@dataclass(frozen=True, slots=True)
class Merges:
    """The folders beside a data directory: `pending` have it in them, it must be put together and moved back;
    `abandoned` too, but another one has taken its place meanwhile; `unused` were never begun, or are done."""

    pending: tuple[str, ...] = ()
    abandoned: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


async def observe_merges(
    host: Host, names: Sequence[str], path: str, cluster: str, node: NodeName, *, there: bool
) -> Merges:
    """`names` are those beside the data directory, `there` says whether there is one. Raises HostFailure."""
    parent = posixpath.dirname(path)
    found: dict[str, list[str]] = {"pending": [], "abandoned": [], "unused": []}
    for name in names:
        if is_merge(name, path):
            folder = posixpath.join(parent, name)
            data = posixpath.join(folder, MERGING)
            if not await host.list_directory(data):
                found["unused"].append(folder)
            elif await observe_marker(host, data) in (None, Marker(cluster, node)):
                found["abandoned" if there else "pending"].append(folder)
    return Merges(**{key: tuple(folders) for key, folders in found.items()})
