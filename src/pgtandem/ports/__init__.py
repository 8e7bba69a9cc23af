"""What the engine needs from the outside world, as small protocols: Host, Database, Workspace, Clock.

Every port has a real adapter (room `adapters`) and a fake one (room `testing`), held to the same contract tests.
"""

from pgtandem.ports.clock import Clock
from pgtandem.ports.database import Access, Database, DatabaseRefused, DatabaseUnreachable, Session
from pgtandem.ports.host import CommandTimeout, Completed, Host, HostFailure, HostUnreachable
from pgtandem.ports.workspace import BuiltNode, LockHolder, Workspace
from pgtandem.ports.world import REPLICATION_SECRET, SUPERUSER_SECRET, World

__all__ = [
    "REPLICATION_SECRET",
    "SUPERUSER_SECRET",
    "Access",
    "BuiltNode",
    "Clock",
    "CommandTimeout",
    "Completed",
    "Database",
    "DatabaseRefused",
    "DatabaseUnreachable",
    "Host",
    "HostFailure",
    "HostUnreachable",
    "LockHolder",
    "Session",
    "Workspace",
    "World",
]
