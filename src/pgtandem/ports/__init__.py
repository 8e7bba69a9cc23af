"""What the engine needs from the outside world, as small protocols: Host, Database, Workspace, Certificates, Clock.

Every port has a real adapter (room `adapters`) and a fake one (room `testing`), held to the same contract tests.
"""

from pgtandem.ports.certificates import Certificates, NewCertificate
from pgtandem.ports.clock import Clock
from pgtandem.ports.database import (
    Access,
    BackupEnd,
    BackupStart,
    Database,
    DatabaseRefused,
    DatabaseUnreachable,
    Encryption,
    Session,
)
from pgtandem.ports.host import CommandTimeout, Completed, Host, HostFailure, HostUnreachable
from pgtandem.ports.pgbouncer import Console, ConsoleAccess
from pgtandem.ports.workspace import BuiltNode, LockHolder, Workspace
from pgtandem.ports.world import AUTHORITY_SECRET, REPLICATION_SECRET, SUPERUSER_SECRET, World, former_of, next_of

__all__ = [
    "AUTHORITY_SECRET",
    "REPLICATION_SECRET",
    "SUPERUSER_SECRET",
    "Access",
    "BackupEnd",
    "BackupStart",
    "BuiltNode",
    "Certificates",
    "Clock",
    "CommandTimeout",
    "Completed",
    "Console",
    "ConsoleAccess",
    "Database",
    "DatabaseRefused",
    "DatabaseUnreachable",
    "Encryption",
    "Host",
    "HostFailure",
    "HostUnreachable",
    "LockHolder",
    "NewCertificate",
    "Session",
    "Workspace",
    "World",
    "former_of",
    "next_of",
]
