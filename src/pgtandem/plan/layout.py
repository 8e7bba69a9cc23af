"""What a distribution is told of a node's server: Debian's postgresql-common knows it, systemd starts and stops it."""

from collections.abc import Iterator

from pgtandem.errors import Problem
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.layout import Registration
from pgtandem.model.names import NodeName
from pgtandem.model.observed import FormerNode, ObservedNode
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.model.topology import Topology
from pgtandem.plan.draft import Draft
from pgtandem.plan.packaged import kept_by_debian
from pgtandem.postgres.debian import registered_data, registration_text


def register(draft: Draft, name: NodeName) -> None:
    """Written once the data directory is there: postgresql-common trips over a cluster without one."""
    topology, node = draft.wish.topology, draft.wish.node(name)
    registration = kept_by_debian(topology, draft.wish.seen(name))
    if registration is None:
        return
    text = registration_text(topology.cluster, name, node.data_directory, node.port)
    if registration.text == text:
        return
    cluster = _name(registration)
    draft.add(
        Step(
            f"{name}.registration",
            StepKind.REGISTER,
            name,
            f"make {node.data_directory} known to postgresql-common as {cluster}"
            if registration.text is None
            else f"write {registration.directory}/postgresql.conf anew",
            "pg_lsclusters, pg_ctlcluster and the system's start then know it, and its port is not given to another."
            if registration.text is None or registration.ours
            else "It leads to the configuration in the data directory from now on; the present one is kept beside it.",
            Risk.CREATE,
            needs=("host.account", f"{name}.data", f"{name}.adopt", f"{name}.files"),
            expects=(Condition("data_is_ours", name, name),),
            proves=(Condition("registered", name),),
            undo=f"remove {registration.directory}"
            if registration.text is None or registration.ours
            else f"put {registration.directory}/postgresql.conf.before-pgtandem back",
            names=(registration.directory, text),
        )
    )


def unregister(topology: Topology, name: NodeName, node: ObservedNode, needs: tuple[str, ...]) -> Step | None:
    """Before the data goes, and for a node that is to be forgotten: only what pgtandem made for it."""
    if not isinstance(node.registration, Known) or not node.registration.value.ours:
        return None
    registration = node.registration.value
    return Step(
        f"{name}.unregister",
        StepKind.UNREGISTER,
        name,
        f"make postgresql-common forget {_name(registration)}",
        f"pgtandem made {registration.directory}; it holds nothing but the way to the data directory.",
        Risk.STOP,
        needs=needs,
        proves=(Condition("not_registered", name),),
        names=(registration.directory,),
    )


def forget_registration(draft: Draft, former: FormerNode) -> None:
    """A node that the topology no longer has must not start with its host."""
    step = unregister(draft.wish.topology, former.name, former.observed, (f"{former.name}.stop",))
    if step is not None:
        draft.add(step)


def taken_names(topology: Topology, name: NodeName, node: ObservedNode) -> Iterator[tuple[str, Problem]]:
    """A name that postgresql-common has given to other data."""
    if not isinstance(node.registration, Known):
        return
    registration = node.registration.value
    where = topology.node(name).data_directory
    if registration.text is None or registered_data(registration.text) in ("", where):
        return
    yield (
        "PT-3003",
        Problem(
            name,
            f"postgresql-common has given the name {_name(registration)} to another cluster than {name}",
            f"{registration.directory}/postgresql.conf names {registered_data(registration.text)}, not {where}.",
            f"name another folder as nodes.{name}.data_directory, or rename that cluster: pg_renamecluster",
        ),
    )


def remarks(topology: Topology, name: NodeName, node: ObservedNode) -> Iterator[str]:
    """What somebody should know about how a server is started, though nothing is wrong now."""
    if isinstance(node.service, Known):
        service = node.service.value
        if not service.at_boot:
            yield f"{name} does not start by itself when its host does: {service.enable}"
        if not service.allowed:
            yield (
                f"{name} is started by pg_ctl and not by {service.unit}: systemctl needs a login as root, or sudo that "
                "asks for no password"
            )
    elif isinstance(node.service, Unknown):
        yield f"{name} is started by pg_ctl, since its systemd unit could not be looked for: {node.service.reason}"
    elif node.system.systemd and not topology.node(name).host.is_local:
        # A server on this machine may be one for an afternoon.
        yield f"{name} does not start by itself when its host does: no systemd unit runs its data directory"
    if isinstance(node.registration, Known) and node.registration.value.obstacle:
        registration = node.registration.value
        yield f"{name} is not known to postgresql-common: {registration.obstacle}"
    yield from _neighbours(topology, name, node)


def _neighbours(topology: Topology, name: NodeName, node: ObservedNode) -> Iterator[str]:
    """Clusters of postgresql-common that have the node's port and do not run now: one that runs refuses the plan."""
    port, here = topology.node(name).port, topology.node(name).host
    ours = {other.data_directory for other in topology.nodes if other.host == here}
    for cluster in node.system.clusters or ():
        if cluster.port == port and not cluster.online and cluster.data_directory not in ours:
            both = f"{cluster.major} {cluster.name}"
            yield (
                f"{name} has port {port}, and so has {cluster.major}/{cluster.name} on its host, which does not run "
                f"now: whichever starts first keeps the other from it. Give that one another port: "
                f"pg_conftool {both} set port PORT"
            )


def _name(registration: Registration) -> str:
    """As Debian's programs show it: 15/shop."""
    return "/".join(registration.directory.rsplit("/", 2)[-2:])
