"""What a restored server fills outside its data directory, and whose tablespaces it must never reach."""

import hashlib
import posixpath

from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Backup
from pgtandem.model.observed import Observed
from pgtandem.model.topology import HostAddress, Node, Topology

#: Ends the names of files that lead to restores for trial in other folders.
DRILL_NOTE = ".at."


def drill_directory(node: Node) -> str:
    """Where a restore for trial like this node goes, unless another folder is named."""
    return f"{node.data_directory}-drill"


def drill_note(node: Node, directory: str) -> str | None:
    """The file beside the data of a node that says where a restore for trial is, as long as it is there; None in the
    drill's own place, where one looks anyway."""
    own = drill_directory(node)
    return None if directory == own else f"{own}{DRILL_NOTE}{hashlib.sha256(directory.encode()).hexdigest()[:8]}"


def restored_name(path: str, target: str) -> str:
    """Beside the folder that it is to take the place of: one rename later."""
    return f"{path}-restored-{target}"


def restored_spaces(backup: Backup, directory: str, target: str | None) -> tuple[tuple[str, str], ...]:
    """The folder of each tablespace by its OID: beside the data of a copy, and beside the tablespace itself where the
    restored server is to take a node's place (`target` is not None)."""
    return tuple(
        (oid, posixpath.join(f"{directory}.tablespaces", oid) if target is None else restored_name(path, target))
        for oid, path in backup.tablespaces
    )


def refuse_shared_spaces(topology: Topology, observed: Observed, host: HostAddress, backup: Backup) -> None:
    """Recovery makes a tablespace at the very path where the cluster made it. One that the backup has goes elsewhere by
    its tablespace_map; for one that came later there is no such map, and on the cluster's own host the restored server
    would write into the cluster's files (up to 14 it empties the folder first).

    Raises PgtandemError PT-3057.
    """
    known = {oid for oid, _ in backup.tablespaces}
    for name in topology.names:
        data = observed.nodes[name].directory
        if topology.node(name).host != host or data is None:
            continue
        for link, place in data.outside.items():
            if link.startswith("pg_tblspc/") and link.removeprefix("pg_tblspc/") not in known:
                raise PgtandemError(
                    "PT-3057",
                    f"cannot restore backup {backup.label} on the host of {name}: it is older than the tablespace in "
                    f"{place}",
                    why="Where WAL tells of its making, the restored server would make it at the same path, in the "
                    f"files of {name}.",
                    next_step="pgtandem backup --full, and restore from that; or restore this one on a host where no "
                    "node has that tablespace (its RESTORE.txt says how to by hand)",
                )
