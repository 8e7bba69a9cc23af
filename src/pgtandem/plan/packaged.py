"""Which of a distribution's ways a node goes: whether postgresql-common keeps it, and which unit starts it."""

from pgtandem.model.facts import Known
from pgtandem.model.layout import Registration
from pgtandem.model.observed import ObservedNode
from pgtandem.model.topology import Topology
from pgtandem.postgres.debian import programs_directory


def kept_by_debian(topology: Topology, node: ObservedNode) -> Registration | None:
    """The registration that a node has or is to have; None where postgresql-common would not be able to use it."""
    if not isinstance(node.registration, Known) or not isinstance(node.programs, Known):
        return None
    registration = node.registration.value
    if node.programs.value.directory != programs_directory(topology.postgresql):
        return None
    return registration if registration.ours or (registration.text is None and not registration.obstacle) else None


def service_of(node: ObservedNode) -> str:
    """The systemd unit through which pgtandem starts and stops a server, "" where it does that by pg_ctl."""
    return node.service.value.unit if isinstance(node.service, Known) and node.service.value.allowed else ""
