"""Whether there is an archive that pgtandem keeps: every question about backups and archived WAL begins with that."""

from pgtandem.errors import PgtandemError
from pgtandem.model.topology import Archive, Topology
from pgtandem.postgres.archive_commands import not_ours


def kept_archive(topology: Topology, wish: str) -> Archive:
    """The archive. Raises PgtandemError PT-3051 where there is none, and PT-3071 where another tool keeps it, with that
    one's command for `wish`: "check", "back up", "restore", "list", "verify" or "prune"."""
    if topology.foreign_archive is not None:
        raise not_ours(topology.cluster, topology.foreign_archive, wish)
    if topology.archive is None:
        raise PgtandemError(
            "PT-3051",
            f"cluster {topology.cluster} has no WAL archive",
            why="Backups, and the WAL that brings them to a moment, lie in the archive.",
            next_step='write [archive] with directory = "..." into the topology file, then pgtandem plan',
        )
    return topology.archive


def no_archive_there(topology: Topology, *, needed: str = "") -> PgtandemError:
    """Where its place has no folder of this cluster: what was archived is somewhere else, or was never there. `needed`
    says for what that counts."""
    assert topology.archive is not None
    return PgtandemError(
        "PT-3008",
        f"the WAL archive {topology.archive.directory} is not there, or has no folder of this cluster",
        why=f"{needed}If there was one, it was moved or removed, or its disk is not mounted.",
        next_step="put it back; or, where there is none any more: pgtandem apply   (makes a new one)",
    )
