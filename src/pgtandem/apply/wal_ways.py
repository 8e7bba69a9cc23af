"""Keys between hosts, made, let in and taken back. Safe to repeat; nobody else's line or file is touched."""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Step
from pgtandem.model.ssh_home import SshHome
from pgtandem.observe.wal_ways import own_folder, read_public_key, ssh_home, system_of
from pgtandem.openssh.authorized_keys import with_grant, without_grant
from pgtandem.openssh.client import KEY_FILE, PUBLIC_KEY_FILE
from pgtandem.plan.wal_sources import SERVE_SCRIPT, client_files, cluster_folder, grant_of, sources_of
from pgtandem.ports import Host
from pgtandem.postgres.wal_serve import SERVE_TEXT

#: Ends the connections that ssh keeps open with a key.
HANG_UP = """
cd "$1" || exit 0
for i in mux-*; do [ ! -S "$i" ] || ssh -F ssh_config -O exit -- "${i#mux-}"; done
"""


async def open_wal_ways(context: Context, step: Step) -> str:
    """A key for the node, made on its own host, and on every host that it asks a line that lets it in.

    Host keys are read from the hosts themselves, over the connections that pgtandem has verified. Raises PgtandemError
    PT-4013 where no key can be made or a host does not tell its host keys.
    """
    topology, world = context.topology, context.world
    node, host = context.node(step.node), context.host(step.node)
    sources = sources_of(topology, node)
    homes = {source.host.url: await ssh_home(world.host(source.host)) for source in sources}
    for source in sources:
        if not homes[source.host.url].host_keys:
            where = world.host(source.host).name
            raise PgtandemError(
                "PT-4013",
                f"could not let {node.name} fetch WAL from {where}",
                why="Its host keys are neither in /etc/ssh nor told by its own sshd.",
                next_step=f"look whether sshd runs on {where}",
            )
    system = await system_of(topology, world)
    if not system:
        why = "No node's data directory tells its system identifier, and a key may reach one cluster's WAL only."
        raise PgtandemError("PT-4013", f"could not let {node.name} fetch WAL", why=why)
    own = await ssh_home(host)
    folder = await own_folder(host, own, topology, world, node.name, system)
    public_key = await _key(host, own, folder)
    for source in sources:
        serving, home = world.host(source.host), homes[source.host.url]
        scripts = posixpath.join(home.path, cluster_folder(topology))
        await _make_private(serving, home, scripts)
        await serving.write_file(posixpath.join(scripts, SERVE_SCRIPT), SERVE_TEXT.encode())
        before = await serving.read_file(home.authorized_keys) or b""
        after = with_grant(before, grant_of(topology, node.name, source, public_key, system))
        if after != before:
            await serving.write_file(home.authorized_keys, after)
    for name, text in client_files(sources, homes).items():
        await host.write_file(posixpath.join(folder, name), text.encode())
    await host.run(["sh", "-c", HANG_UP, "sh", folder], deadline_seconds=30)
    return ""


async def revoke_keys(context: Context, step: Step) -> str:
    """Takes lines out of authorized_keys and removes keys, on the host whose URL is the first of the step's names."""
    topology = context.topology
    url, *what = step.names
    host = context.world.hosts[url]
    home, system = await ssh_home(host), await system_of(topology, context.world)
    for made in (name.removeprefix("made:") for name in what if name.startswith("made:")):
        folder = posixpath.join(home.path, cluster_folder(topology), made)
        await host.run(["sh", "-c", HANG_UP, "sh", folder], deadline_seconds=30)
        await host.remove_tree(folder)
    before = await host.read_file(home.authorized_keys) or b""
    after = before
    for granted in (name.removeprefix("granted:") for name in what if name.startswith("granted:")):
        after = without_grant(after, topology.cluster, granted, system)
    if after != before and after:
        await host.write_file(home.authorized_keys, after)
    elif after != before:
        await host.remove_file(home.authorized_keys)
    await _remove_unused(context, host, home, after)
    return ""


async def _remove_unused(context: Context, host: Host, home: SshHome, authorized: bytes) -> None:
    """The script, when nobody is let in to it any more; folders that are empty then."""
    scripts = posixpath.join(home.path, cluster_folder(context.topology))
    script = posixpath.join(scripts, SERVE_SCRIPT)
    if cluster_folder(context.topology).encode() + b"/" + SERVE_SCRIPT.encode() not in authorized:
        await host.remove_file(script)
    for folder in (scripts, posixpath.dirname(scripts)):
        if await host.list_directory(folder) == ():
            await host.remove_tree(folder)


async def _key(host: Host, home: SshHome, folder: str) -> str:
    """The public half of the node's key; made now where there is none. The private half never leaves its host."""
    public_key = await read_public_key(host, folder)
    if public_key:
        return public_key
    await _make_private(host, home, folder)
    key = posixpath.join(folder, KEY_FILE)
    await host.remove_file(key)
    await host.remove_file(posixpath.join(folder, PUBLIC_KEY_FILE))
    done = await host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], deadline_seconds=30)
    public_key = await read_public_key(host, folder)
    if done.exit_code or not public_key:
        raise PgtandemError("PT-4013", f"could not make an SSH key on {host.name}", why=done.complaint)
    return public_key


async def _make_private(host: Host, home: SshHome, folder: str) -> None:
    """The folder and its parents below the home, each closed to others."""
    at = home.path
    for part in posixpath.relpath(folder, home.path).split("/"):
        at = posixpath.join(at, part)
        await host.make_directory(at)
