"""Taking over what pgtandem did not build: copies of the files first, then the marker; and what it no longer needs."""

import json
import posixpath
import re
from collections.abc import Iterator

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step
from pgtandem.plan.adopting import BEFORE
from pgtandem.plan.desired import MARKER_FILE
from pgtandem.ports import SUPERUSER_SECRET, Host
from pgtandem.postgres.conf import RECOVERY_FILE
from pgtandem.postgres.hba_records import with_scram, without_records
from pgtandem.postgres.scram import verifier

_CHANGED = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf", RECOVERY_FILE)
_INSIDE = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")

#: Where the configuration was is told by these, and it is in the data directory from now on.
_PLACES = re.compile(r"^(\s*(?:data_directory|config_file|hba_file|ident_file)\b)", re.MULTILINE | re.IGNORECASE)
_INCLUDE = re.compile(r"^\s*(include|include_if_exists|include_dir)\b\s*=?\s*'([^']+)'", re.MULTILINE | re.IGNORECASE)
_TAKEN_OUT = "# taken out by pgtandem: "


async def adopt(context: Context, step: Step) -> str:
    """The marker comes last: cut off before, the next run does all of it again, and nothing was changed.

    Raises PgtandemError PT-4002 where a file that the server reads is not there.
    """
    host, directory = context.host(step.node), context.node(step.node).data_directory
    kept = posixpath.join(directory, BEFORE)
    await host.make_directory(posixpath.join(directory, "pgtandem"))
    await host.make_directory(kept)
    for name in _CHANGED:
        content = await host.read_file(posixpath.join(directory, name))
        if content is not None and await host.read_file(posixpath.join(kept, name)) is None:
            await host.write_file(posixpath.join(kept, name), content)
    for source, name in zip(step.names, _INSIDE, strict=True):
        if source:
            await _bring(host, source, directory, name)
    marker = {"made_by": "pgtandem", "cluster": context.topology.cluster, "node": step.node, "adopted": True}
    await host.write_file(posixpath.join(directory, MARKER_FILE), (json.dumps(marker) + "\n").encode())
    return f"what was there is kept in {kept}"


async def _bring(host: Host, source: str, directory: str, name: str) -> None:
    """A configuration file from elsewhere, with what it includes by a path relative to itself."""
    content = await host.read_file(source)
    if content is None:
        raise PgtandemError("PT-4002", f"{source} is not there any more", why="The server read it when it started.")
    text = content.decode("utf-8", errors="surrogateescape")
    if name == "postgresql.conf":
        text = _PLACES.sub(rf"{_TAKEN_OUT}\1", text)
        for inner in await _included(host, posixpath.dirname(source), text):
            found = await host.read_file(posixpath.join(posixpath.dirname(source), inner))
            target = posixpath.join(directory, inner)
            await host.make_directory(posixpath.dirname(target))
            if found is not None:
                await host.write_file(target, found)
        for kind, path in _includes(text):
            if kind == "include_dir":
                await host.make_directory(posixpath.join(directory, path))
    await host.write_file(posixpath.join(directory, name), text.encode("utf-8", errors="surrogateescape"))


def _includes(text: str) -> Iterator[tuple[str, str]]:
    """Each include by a relative path: its kind and the path."""
    for kind, path in _INCLUDE.findall(text):
        if not path.startswith("/") and ".." not in path.split("/"):
            yield kind.lower(), path


async def _included(host: Host, folder: str, text: str, inside: str = "") -> list[str]:
    """Every file that a configuration file includes, as paths relative to the first one's folder."""
    found: list[str] = []
    for kind, path in _includes(text):
        relative = posixpath.join(inside, path)
        if kind == "include_dir":
            names = await host.list_directory(posixpath.join(folder, relative)) or ()
            files = [posixpath.join(relative, n) for n in names if n.endswith(".conf") and not n.startswith(".")]
        else:
            files = [relative]
        for file in files:
            if file in found or len(found) > 200:
                continue
            found.append(file)
            content = await host.read_file(posixpath.join(folder, file))
            inner = (content or b"").decode("utf-8", errors="surrogateescape")
            found += [
                more for more in await _included(host, folder, inner, posixpath.dirname(file)) if more not in found
            ]
    return found


async def set_password(context: Context, step: Step) -> str:
    """The stored password, or a new one: stored before the server has it, so that it is never lost."""
    workspace = context.world.workspace
    secret = workspace.secret(SUPERUSER_SECRET)
    if secret is None:
        secret = workspace.new_secret()
        workspace.store_secret(SUPERUSER_SECRET, secret)
    session = await context.session(step.node)
    for name in step.names:
        await session.set_superuser_password(name, verifier(secret.reveal(), workspace.token().encode()))
    return ""


async def disable_roles(context: Context, step: Step) -> str:
    session = await context.session(step.node)
    for name in step.names:
        await session.disable_role(name)
    return ""


async def change_records(context: Context, step: Step) -> str:
    """Raises PgtandemError PT-4010, with the file as it was, when the server cannot read the result."""
    host, session = context.host(step.node), await context.session(step.node)
    path = posixpath.join(context.node(step.node).data_directory, "pg_hba.conf")
    before = await host.read_file(path) or b""
    text = before.decode("utf-8", errors="surrogateescape")
    roles = [name for name in step.names if name != "scram"]
    text = without_records(text, roles)
    if "scram" in step.names[:1]:
        text = with_scram(text)
    await host.write_file(path, text.encode("utf-8", errors="surrogateescape"))
    wrong = [rule for rule in (await session.observe(None)).hba if rule.broken]
    if wrong:
        await host.write_file(path, before)
        why = "; ".join(f"Line {rule.line}: {rule.error}" for rule in wrong[:3])
        raise PgtandemError(
            "PT-4010",
            f"pg_hba.conf of {step.node} has a record that the server cannot read",
            why=f"{why}. The file is as it was.",
            next_step="correct the records in that file that are not pgtandem's",
        )
    await session.reload()
    return ""
