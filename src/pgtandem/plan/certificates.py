"""Certificates: made, renewed, signed anew by another CA, loaded, taken away; and what stands in the way of TLS."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pgtandem.errors import Problem
from pgtandem.model.facts import Absent, Known, Unknown, value_or_none
from pgtandem.model.names import NodeName
from pgtandem.model.observed import NodeTls
from pgtandem.model.plan import Condition, Risk, Step, StepKind
from pgtandem.plan.desired import Wish, settings_in_place
from pgtandem.plan.draft import Draft
from pgtandem.plan.tls import (
    certificate_names,
    demands_tls,
    is_loaded,
    known_certificate,
    managed,
    tls_settings,
    trusted_by_all,
    under_way,
    uses_own_files,
    verifies_upstream,
)
from pgtandem.postgres.certificates import CERTIFICATE_FILE, ROOT_FILE, covers, has_certificates

_DAY = 24 * 3600.0
#: Lifetimes, and how long before their end a certificate or a CA is renewed. A CA must outlive what it signs.
NODE_SECONDS, NODE_RENEWAL_SECONDS = 365 * _DAY, 30 * _DAY
AUTHORITY_SECONDS, AUTHORITY_RENEWAL_SECONDS = 3650 * _DAY, 400 * _DAY

#: What a step of the kind WRITE_CERTIFICATE writes: the CA's certificates (beside those of another CA that are there
#: already, or alone), and the node's own.
TRUST, ALONE, CERTIFICATE = "trust", "alone", "certificate"


def plan_certificates(draft: Draft) -> None:
    wish = draft.wish
    for name in wish.topology.names:
        if draft.builds(name):
            continue
        if wish.topology.tls is None or not uses_own_files(wish, name):
            _remove(draft, name)
        if wish.topology.tls is not None:
            _plan_node(draft, name)
    if under_way(wish):
        draft.look_again = True
        if wish.topology.tls is not None:
            draft.notes.append(
                "TLS is switched on in rounds, so that no standby is cut off: first every server gets a certificate, "
                "then the standbys demand it, then connections without TLS are refused."
            )


def _plan_node(draft: Draft, name: NodeName) -> None:
    wish = draft.wish
    seen, tls = wish.seen(name), value_or_none(wish.seen(name).tls)
    if tls is None:
        return
    parts, reasons = [], []
    if _lacks_trust(wish, tls):
        parts, reasons = [TRUST], ["It does not have the certificate of the cluster's CA."]
    elif _trusts_too_much(wish, tls):
        parts, reasons = [TRUST, ALONE], ["It still trusts a CA that no certificate is from any more."]
    need = certificate_need(wish, name)
    if need and (not authority_due(wish) or not _anybody_demands(wish)):
        foreign = known_certificate(wish, name)
        if foreign is None or foreign.ours or trusted_by_all(wish):
            parts, reasons = [*parts, CERTIFICATE], [*reasons, need]
    if need and CERTIFICATE not in parts:
        draft.look_again = True  # once everybody trusts the new CA
    if parts:
        _write(draft, name, parts, reasons)
    elif not need and is_loaded(seen) and _path_in_place(wish, name) and not _shows_its_file(tls):
        draft.add(
            Step(
                f"{name}.certificate",
                StepKind.RELOAD,
                name,
                f"reload {name}",
                "It has not read its new certificate yet.",
                Risk.RELOAD,
                proves=(Condition("serves_certificate", name),),
            )
        )


def _write(draft: Draft, name: NodeName, parts: list[str], reasons: list[str]) -> None:
    seen = draft.wish.seen(name)
    loads = CERTIFICATE in parts and is_loaded(seen) and _path_in_place(draft.wish, name)
    what = [f"write a new certificate of {name}"] if CERTIFICATE in parts else []
    what += [f"{'give' if not what else 'and give'} {name} the CA's certificate"] if TRUST in parts else []
    draft.add(
        Step(
            f"{name}.certificate",
            StepKind.WRITE_CERTIFICATE,
            name,
            " ".join(what) + (" and reload" if loads else ""),
            " ".join(reasons),
            Risk.RELOAD if loads else Risk.CREATE,
            needs=("host.account",),
            expects=(Condition("data_is_ours", name, name),),
            proves=(Condition("serves_certificate", name),) if loads else (),
            names=tuple(parts),
        )
    )


def _remove(draft: Draft, name: NodeName) -> None:
    """The files of a node that does not use them any more; a private key is not left lying about."""
    data = draft.wish.seen(name).directory
    left = [path for path in (CERTIFICATE_FILE, ROOT_FILE) if data and data.files.get(path) is not None]
    if draft.wish.topology.tls is not None:
        left = [path for path in left if path != ROOT_FILE]
    if not left or ("ssl" in tls_settings(draft.wish, name) and draft.wish.topology.tls is None):
        return
    draft.add(
        Step(
            f"{name}.certificate.old",
            StepKind.REMOVE_CERTIFICATE,
            name,
            f"remove the certificate that pgtandem made for {name}",
            "Its server does not use it any more.",
            Risk.CREATE,
            needs=(f"{name}.files", *(f"{other}.proof" for other in draft.wish.topology.names)),
            expects=(Condition("data_is_ours", name, name),),
            names=tuple(left),
        )
    )


def authority_due(wish: Wish) -> bool:
    """Whether pgtandem is to make a new CA."""
    authority = value_or_none(wish.observed.authority)
    if not managed(wish.topology):
        return False
    return authority is None or authority.valid_until - wish.observed.now < AUTHORITY_RENEWAL_SECONDS


def _anybody_demands(wish: Wish) -> bool:
    return any(demands_tls(wish, name) for name in wish.topology.names)


def _lacks_trust(wish: Wish, tls: NodeTls) -> bool:
    authority = value_or_none(wish.observed.authority)
    return authority_due(wish) or authority is None or not has_certificates(tls.trust, authority.text)


def _trusts_too_much(wish: Wish, tls: NodeTls) -> bool:
    """Whether a node still trusts an old CA, and every certificate that is there or shown is from the cluster's."""
    authority = value_or_none(wish.observed.authority)
    if authority is None or has_certificates(authority.text, tls.trust or ""):
        return False
    nodes = [value_or_none(wish.seen(name).tls) for name in wish.topology.names]
    facts = [fact for node in nodes if node for fact in (node.certificate, node.served)]
    return all(fact.value.ours for fact in facts if isinstance(fact, Known))


def certificate_need(wish: Wish, name: NodeName) -> str:
    """Why pgtandem is to make a new certificate for a node, as a sentence; "" where it is not."""
    tls, certificate = value_or_none(wish.seen(name).tls), known_certificate(wish, name)
    if not managed(wish.topology):
        return ""
    if tls is None or certificate is None:
        return "It has no certificate that can be read."
    if not tls.key:
        return "The private key of its certificate is missing."
    if not certificate.ours:
        return "Its certificate is not from the cluster's CA."
    missing = [each for each in certificate_names(wish.topology, wish.node(name)) if each not in certificate.names]
    if missing:
        return f"Its certificate does not name {', '.join(each.removeprefix('dns:') for each in missing)}."
    if certificate.valid_until - wish.observed.now < NODE_RENEWAL_SECONDS:
        return f"Its certificate expires on {day(certificate.valid_until)}."
    return ""


def day(seconds: float) -> str:
    """A time since 1970 as a date (UTC): "2027-03-01"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _path_in_place(wish: Wish, name: NodeName) -> bool:
    """Whether the server's settings file names the file that is looked at."""
    path = settings_in_place(wish.seen(name)).get("ssl_cert_file")
    return path is not None and path == (wish.node(name).certificate or CERTIFICATE_FILE)


def _shows_its_file(tls: NodeTls) -> bool:
    here, there = value_or_none(tls.certificate), value_or_none(tls.served)
    return here is not None and there is not None and here.fingerprint == there.fingerprint


def takes_certificate(wish: Wish, name: NodeName, written: tuple[str, ...]) -> tuple[Condition, ...]:
    """That a running server shows its certificate once these settings are written."""
    if wish.topology.tls is None or not any(key.startswith("ssl") for key in written):
        return ()
    settled = tls_settings(wish, name).get("ssl_cert_file") == (wish.node(name).certificate or CERTIFICATE_FILE)
    return (Condition("serves_certificate", name),) if settled else ()


def streams_encrypted(wish: Wish, name: NodeName) -> tuple[Condition, ...]:
    """That a standby which demands TLS streams by it."""
    upstream = wish.upstream(name)
    if upstream is None or not verifies_upstream(wish, name):
        return ()
    return (Condition("streams_encrypted", name, upstream),)


# --- what stands in the way


def tls_findings(wish: Wish) -> Iterator[tuple[str, Problem]]:
    topology = wish.topology
    if topology.tls is None:
        return
    if isinstance(wish.observed.authority, Unknown) or (
        isinstance(wish.observed.authority, Absent) and not managed(topology)
    ):
        reason = wish.observed.authority.reason if isinstance(wish.observed.authority, Unknown) else ""
        yield "PT-3017", Problem("tls", "the CA's certificate cannot be used", reason, "name another file as tls.ca")
        return
    for name in topology.names:
        seen = wish.seen(name)
        programs = value_or_none(seen.programs)
        if programs is not None and programs.tls is False:
            yield (
                "PT-3016",
                Problem(
                    name,
                    f"PostgreSQL {programs.version} in {programs.directory} was built without TLS",
                    "[tls] asks for encrypted connections, which these programs cannot make."
                    + (" The embedded PostgreSQL never can." if programs.origin == "embedded" else ""),
                    'install PostgreSQL from packages and write binaries = "system", or remove the table [tls]',
                ),
            )
        if isinstance(seen.tls, Unknown):
            yield "PT-3008", Problem(name, f"could not look at the certificates of {name}", seen.tls.reason)
        tls = value_or_none(seen.tls)
        if tls is not None and isinstance(tls.served, Unknown) and seen.running is not None:
            yield "PT-3008", Problem(name, f"could not see the certificate that {name} shows", tls.served.reason)
        if tls is not None and not managed(topology):
            yield from _own_certificate(wish, name, tls)


def _own_certificate(wish: Wish, name: NodeName, tls: NodeTls) -> Iterator[tuple[str, Problem]]:
    node, certificate = wish.node(name), value_or_none(tls.certificate)
    path = node.certificate or ""
    what, next_step = "", f"put the right file there, or name another one as nodes.{name}.certificate"
    why = ""
    if certificate is None:
        what = f"the certificate {path} of {name} cannot be read"
        why = tls.certificate.reason if isinstance(tls.certificate, Unknown) else "There is no such file."
    elif not tls.key:
        what = f"the private key {node.certificate_key} of {name} cannot be used"
        why = (
            "The servers' account must be able to read it, and nobody else: 0600 where it belongs to that account, "
            "0640 where it belongs to root (manual, 19.9)."
        )
        next_step = f"give it that owner and mode, or name another one as nodes.{name}.certificate_key"
    elif not certificate.ours:
        what = f"the certificate {path} of {name} is not from a CA in {wish.topology.tls and wish.topology.tls.ca}"
        why = "Standbys and clients that check it would not connect."
        next_step = "name a file as tls.ca that has this CA too (the old one and the new one, while you change over)"
    elif not covers(certificate.names or (certificate.name,), node.address):
        what = f"the certificate {path} of {name} is not for its address {node.address}"
        why = f"It is for {', '.join(certificate.names) or certificate.name or 'nobody'}."
    elif certificate.valid_until <= wish.observed.now and not _path_in_place(wish, name):
        what = f"the certificate {path} of {name} expired on {day(certificate.valid_until)}"
    if what:
        yield "PT-3017", Problem(name, what, why, next_step)
