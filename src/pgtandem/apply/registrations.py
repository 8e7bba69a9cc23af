"""A node in postgresql-common's register: its folder below /etc/postgresql."""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step
from pgtandem.observe.paths import log_file
from pgtandem.postgres import debian


async def register(context: Context, step: Step) -> str:
    """postgresql.conf comes last: it is what makes the cluster known. Raises PgtandemError PT-4001."""
    host, (place, text) = context.host(step.node), step.names
    await host.make_directory(place, 0o755)
    start = posixpath.join(place, debian.START_FILE)
    if await host.read_file(start) is None:
        await host.write_file(start, debian.START_TEXT.encode(), 0o644)
    # One log, whoever starts the server.
    link = posixpath.join(place, debian.LOG_LINK)
    done = await host.run(["ln", "-sfn", log_file(context.node(step.node).data_directory), link])
    if done.exit_code:
        raise PgtandemError("PT-4001", f"could not make the link {link}", why=done.complaint)
    config = posixpath.join(place, debian.CONFIG_FILE)
    there, kept = await host.read_file(config), f"{config}.before-pgtandem"
    foreign = there is not None and not debian.is_ours(
        there.decode(errors="replace"), context.topology.cluster, step.node
    )
    # That of a cluster which is taken over. What is kept already is older, and was the user's for sure.
    if there is not None and foreign and await host.read_file(kept) is None:
        await host.write_file(kept, there, 0o644)
    await host.write_file(config, text.encode(), 0o644)
    return ""


async def unregister(context: Context, step: Step) -> str:
    """Raises PgtandemError PT-4002 when it is not this node's any more."""
    host, (place,) = context.host(step.node), step.names
    text = await host.read_file(posixpath.join(place, debian.CONFIG_FILE))
    if text is None:
        return "it was not there"
    if not debian.is_ours(text.decode(errors="replace"), context.topology.cluster, step.node):
        raise PgtandemError("PT-4002", f"{place} is not that of {step.node} any more", why="Nothing was removed.")
    kept = await host.read_file(posixpath.join(place, f"{debian.CONFIG_FILE}.before-pgtandem"))
    if kept is not None:
        await host.write_file(posixpath.join(place, debian.CONFIG_FILE), kept, 0o644)
        return "it was there before: its postgresql.conf is as it was"
    await host.remove_tree(place)
    return ""
