"""Which of a distribution's ways a node goes: whether postgresql-common keeps it, and which unit starts it."""

from pgtandem.model.facts import Known
from pgtandem.model.layout import Registration
from pgtandem.model.observed import ObservedNode
from pgtandem.model.topology import Topology
from pgtandem.postgres.debian import programs_directory, registered_data, registration_directory


def kept_by_debian(topology: Topology, node: ObservedNode) -> Registration | None:
    """The registration that a node has or is to have; None where postgresql-common would not be able to use it."""
    if not isinstance(node.registration, Known) or not isinstance(node.programs, Known):
        return None
    registration = node.registration.value
    if node.programs.value.directory != programs_directory(topology.postgresql):
        return None
    free = registration.text is None and not registration.obstacle
    return registration if registration.ours or free or _taken_over(topology, node, registration) else None


def _taken_over(topology: Topology, node: ObservedNode, registration: Registration) -> bool:
    """Whether it is that of a cluster of pg_createcluster, whose configuration goes into the data directory."""
    if topology.adoption is None or registration.text is None or node.directory is None or not node.directory.ours:
        return False
    data = registered_data(registration.text)
    return registration_directory(data, topology.postgresql) == registration.directory


def service_of(node: ObservedNode) -> str:
    """The systemd unit through which pgtandem starts and stops a server, "" where it does that by pg_ctl."""
    return node.service.value.unit if isinstance(node.service, Known) and node.service.value.allowed else ""
