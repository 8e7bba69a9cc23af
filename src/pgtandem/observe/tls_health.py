"""What a look means for TLS: how long the certificates last, and who does without. A pure reading of Observed."""

from pgtandem.model.facts import Known, Unknown, value_or_none
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Certificate, Observed
from pgtandem.model.topology import Certificates, Topology
from pgtandem.plan.certificates import NODE_RENEWAL_SECONDS, day
from pgtandem.postgres.certificates import covers


def certificate_of(observed: Observed, name: NodeName) -> Certificate | None:
    """The certificate that a node shows; that in its file where it does not run."""
    tls = value_or_none(observed.nodes[name].tls)
    return None if tls is None else value_or_none(tls.served) or value_or_none(tls.certificate)


def earliest_end(topology: Topology, observed: Observed) -> float | None:
    """When the first certificate expires, the CA's among them (seconds since 1970)."""
    authority = value_or_none(observed.authority)
    ends = [each.valid_until for name in topology.names if (each := certificate_of(observed, name))]
    return min([*ends, *([authority.valid_until] if authority else [])], default=None)


def tls_in_words(topology: Topology, observed: Observed) -> str | None:
    """One line, None where the topology has no TLS."""
    if topology.tls is None:
        return None
    who = "pgtandem's certificates" if topology.tls.certificates is Certificates.MANAGED else "own certificates"
    end = earliest_end(topology, observed)
    lasts = f", the first expires on {day(end)}" if end is not None else ""
    return f"{'required' if topology.tls.required else 'not required'}, {who}{lasts}"


def tls_problems(topology: Topology, observed: Observed) -> list[str]:
    if topology.tls is None:
        return []
    problems = []
    if isinstance(observed.authority, Unknown):
        problems.append(f"the CA's certificate cannot be read: {observed.authority.reason}")
    for name in topology.names:
        problems += _of_node(topology, observed, name)
    authority = value_or_none(observed.authority)
    if authority is not None and authority.valid_until - observed.now < NODE_RENEWAL_SECONDS:
        problems.append(f"the certificate of the CA {_ends(authority.valid_until, observed.now)}")
    return problems


def _of_node(topology: Topology, observed: Observed, name: NodeName) -> list[str]:
    seen, certificate = observed.nodes[name], certificate_of(observed, name)
    tls, address = value_or_none(seen.tls), topology.node(name).address
    problems = []
    if tls is not None and seen.running is not None and not isinstance(tls.served, Known):
        why = f" ({tls.served.reason})" if isinstance(tls.served, Unknown) else ""
        problems.append(f"{name} does not speak TLS{why}")
    elif certificate is not None and not certificate.ours:
        problems.append(f"the certificate of {name} is not from the cluster's CA: who checks it does not connect")
    elif certificate is not None and not covers(certificate.names or (certificate.name,), address):
        problems.append(f"the certificate of {name} is not for {address}: who checks it does not connect")
    if certificate is not None and certificate.valid_until - observed.now < NODE_RENEWAL_SECONDS:
        problems.append(f"the certificate of {name} {_ends(certificate.valid_until, observed.now)}")
    for sender in seen.running.senders if seen.running else ():
        if sender.encrypted is False and sender.application_name in topology.names:
            problems.append(f"{sender.application_name} streams from {name} without TLS")
    return problems


def _ends(end: float, now: float) -> str:
    return f"expired on {day(end)}: who checks it does not connect" if end <= now else f"expires on {day(end)}"
