"""Certificates on their way to the nodes: made by the cluster's CA, written so that key and certificate always fit."""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import NodeName, Secret
from pgtandem.model.observed import PostmasterState
from pgtandem.model.plan import Step
from pgtandem.observe.tls import observe_authority
from pgtandem.plan.certificates import (
    ALONE,
    AUTHORITY_RENEWAL_SECONDS,
    AUTHORITY_SECONDS,
    CERTIFICATE,
    NODE_SECONDS,
    TRUST,
)
from pgtandem.plan.tls import certificate_names, managed
from pgtandem.ports import AUTHORITY_SECRET
from pgtandem.postgres.certificates import CERTIFICATE_FILE, KEY_FILE, ROOT_FILE, joined


async def write_certificate(context: Context, step: Step) -> str:
    """Writes what the step names, and makes a running server read it."""
    await _write(context, step.node, context.node(step.node).data_directory, step.names, new_key=False)
    await _reload(context, step)
    return ""


async def remove_certificate(context: Context, step: Step) -> str:
    host, directory = context.host(step.node), context.node(step.node).data_directory
    for path in (KEY_FILE, *step.names):
        await host.remove_file(posixpath.join(directory, path))
    return ""


async def equip(context: Context, name: NodeName, directory: str) -> None:
    """The files of TLS for a data directory in the making; what a base backup brought along of the upstream's goes."""
    host = context.host(name)
    if not managed(context.topology):
        for path in (KEY_FILE, CERTIFICATE_FILE, ROOT_FILE):
            await host.remove_file(posixpath.join(directory, path))
    if context.topology.tls is not None:
        await _write(context, name, directory, (TRUST, ALONE, CERTIFICATE), new_key=True)


def root_certificates(context: Context) -> str:
    """The certificates of the cluster's CA (PEM), which pgtandem makes now where it is to. Raises PgtandemError."""
    if managed(context.topology):
        _authority(context)
    fact = observe_authority(context.topology, context.world)
    if not isinstance(fact, Known):
        why = fact.reason if isinstance(fact, Unknown) else ""
        raise PgtandemError("PT-4011", "the certificate of the cluster's CA cannot be used", why=why)
    return fact.value.text


def _authority(context: Context) -> Secret:
    """Key and certificate of the CA: those that are stored, or new ones, stored first."""
    workspace, now = context.world.workspace, context.world.clock.now()
    secret, fact = workspace.secret(AUTHORITY_SECRET), observe_authority(context.topology, context.world)
    if secret is None or not isinstance(fact, Known) or fact.value.valid_until - now < AUTHORITY_RENEWAL_SECONDS:
        secret = context.world.certificates.new_authority(context.topology.cluster, now, now + AUTHORITY_SECONDS)
        workspace.store_secret(AUTHORITY_SECRET, secret)
    return secret


async def _write(context: Context, name: NodeName, directory: str, parts: tuple[str, ...], *, new_key: bool) -> None:
    host, workspace = context.host(name), context.world.workspace
    await host.make_directory(posixpath.join(directory, "pgtandem"))
    if TRUST in parts:
        root = root_certificates(context)
        path = posixpath.join(directory, ROOT_FILE)
        before = None if ALONE in parts else await host.read_file(path)
        await host.write_file(path, joined(root, before.decode(errors="replace") if before else None).encode())
        # For sessions and clients; what is too much in it goes when the command ends.
        known = workspace.root_certificate()
        workspace.write_root_certificate(joined(root, known[1] if known else None))
    if CERTIFICATE in parts and managed(context.topology):
        await _write_certificate(context, name, directory, new_key=new_key)


async def _write_certificate(context: Context, name: NodeName, directory: str, *, new_key: bool) -> None:
    """A renewed certificate is for the key that is there, so that one file replaced at once is all that changes.

    With a new key the old certificate goes first: cut off in between there is none, and never one that does not fit.
    """
    host, now = context.host(name), context.world.clock.now()
    key_path, path = posixpath.join(directory, KEY_FILE), posixpath.join(directory, CERTIFICATE_FILE)
    old = None if new_key else await _own_certificate(context, name, directory)
    names = certificate_names(context.topology, context.node(name))
    new = context.world.certificates.new_certificate(
        _authority(context), name, names, now, now + NODE_SECONDS, same_key_as=old
    )
    if new.key is not None:
        await host.remove_file(path)
        await host.write_file(key_path, new.key.reveal().encode(), 0o600)
    await host.write_file(path, new.certificate.encode(), 0o600)


async def _own_certificate(context: Context, name: NodeName, directory: str) -> str | None:
    """The node's certificate, where it is this node's and its key is there."""
    host = context.host(name)
    names = await host.list_directory(posixpath.join(directory, "pgtandem")) or ()
    content = await host.read_file(posixpath.join(directory, CERTIFICATE_FILE))
    if content is None or posixpath.basename(KEY_FILE) not in names:
        return None
    try:
        certificate = context.world.certificates.read(content, None)
    except ValueError:
        return None
    return content.decode(errors="replace") if certificate.name == name else None


async def _reload(context: Context, step: Step) -> None:
    postmaster = await context.postmaster(step.node)
    if postmaster is not None and postmaster.state not in (PostmasterState.STARTING, PostmasterState.STOPPING):
        await (await context.session(step.node)).reload()
