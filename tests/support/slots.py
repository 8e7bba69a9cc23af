"""Replication slots that a test takes away, so that the WAL which a standby needs may go."""

from support.clusters import Cluster
from support.remote import RemoteCluster


def drop_slot(cluster: Cluster | RemoteCluster, standby: str, upstream: str = "db1") -> str:
    """Drops the slot of a standby that was stopped, once its upstream has noticed that it is gone: until then the slot
    is in use, and cannot be dropped. The name of the segment that it kept."""
    ask = cluster.psql if isinstance(cluster, RemoteCluster) else cluster.sql
    slot = f"pg_replication_slots WHERE slot_name = 'pgtandem_{standby}'"
    cluster.wait_for(upstream, f"SELECT NOT active FROM {slot}", 60)
    needed = str(ask(upstream, f"SELECT pg_walfile_name(restart_lsn) FROM {slot}"))
    ask(upstream, f"SELECT pg_drop_replication_slot('pgtandem_{standby}')")
    return needed
