"""What an effect may use: the node it is about, the node's host, its server, and how to wait for something."""

import posixpath
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pgtandem.apply.report import Report
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.names import REPLICATION_ROLE, NodeName, Secret
from pgtandem.model.observed import Postmaster
from pgtandem.model.plan import Step
from pgtandem.model.topology import HostAddress, Node, Topology
from pgtandem.observe.cluster import Observer
from pgtandem.observe.directory import observe_postmaster
from pgtandem.observe.paths import log_file
from pgtandem.observe.tls import open_own_session, open_session
from pgtandem.ports import REPLICATION_SECRET, Host, HostFailure, Session, World

T = TypeVar("T")

_TROUBLE = (
    *("FATAL:", "PANIC:", "ERROR:", "HINT:", "DETAIL:"),
    # Told as LOG: what a server that does not start says against its files.
    *("invalid value for parameter", "unrecognized configuration parameter", "syntax error in file"),
    # The script that fetches WAL: which file it did not get, and why.
    *("restore-wal: could not get", "fetch-wal: could not get"),
)


@dataclass(frozen=True, slots=True)
class Context:
    """One run of one plan."""

    topology: Topology
    world: World
    observer: Observer
    report: Report

    def node(self, name: NodeName) -> Node:
        """A node of the topology, or one that was built earlier. Raises KeyError: a defect."""
        if name in self.topology.names:
            return self.topology.node(name)
        for built in self.world.workspace.built_nodes():
            if built.name == name:
                return Node(name, built.port, built.data_directory, HostAddress(built.host), built.address)
        raise KeyError(name)

    def host(self, name: NodeName) -> Host:
        return self.world.host(self.node(name).host)

    async def postmaster(self, name: NodeName) -> Postmaster | None:
        """The node's living server process. Raises PgtandemError where that cannot be found out."""
        fact = await observe_postmaster(self.host(name), self.node(name).data_directory)
        if isinstance(fact, Known):
            return fact.value
        if hasattr(fact, "reason"):
            raise PgtandemError("PT-2003", f"could not look at the server process of {name}", why=fact.reason)
        return None

    async def session(self, name: NodeName) -> Session:
        """The open session with the node's server, at the port that it listens on now."""
        node = self.node(name)
        postmaster = await self.postmaster(name)
        port, socket = (postmaster.port, postmaster.socket) if postmaster else (node.port, "")
        return await open_session(self.topology, self.world, node, port, socket)

    async def own_session(self, name: NodeName) -> Session:
        """A session that nobody else uses; the caller closes it."""
        node = self.node(name)
        postmaster = await self.postmaster(name)
        return await open_own_session(self.topology, self.world, node, postmaster.port if postmaster else node.port)

    async def leave(self, name: NodeName) -> None:
        """Closes the session before the server stops."""
        node = self.node(name)
        postmaster = await self.postmaster(name)
        for port in {node.port, *({postmaster.port} if postmaster else ())}:
            await self.world.drop_session(node, port)

    async def wait(self, test: Callable[[], Awaitable[T | None]], seconds: float, pause: float = 0.01) -> T | None:
        """Asks until the answer is not None; None when the time is over.

        The pauses grow with the time waited so far, to a twentieth of it: what comes is seen hardly later than it is
        there, and what takes long is not asked often.
        """
        clock = self.world.clock
        began = clock.monotonic()
        while True:
            answer = await test()
            waited = clock.monotonic() - began
            if answer is not None or waited >= seconds:
                return answer
            await clock.sleep(min(max(pause, waited / 20), 0.25))

    async def log_tail(self, name: NodeName, lines: int = 5) -> str:
        """The last lines of the server's log, those that tell of trouble first; "" where there is none."""
        said = await self.log_lines(name)
        trouble = [line for line in said if any(word in line for word in _TROUBLE)]
        return "\n".join((trouble or said)[-lines:])

    async def log_lines(self, name: NodeName) -> list[str]:
        """The last 60 lines of the server's log; none where it cannot be read."""
        path = log_file(self.node(name).data_directory)
        try:
            done = await self.host(name).run(["tail", "-n", "60", path], deadline_seconds=10)
        except HostFailure:
            return []
        return [] if done.exit_code else [line.strip() for line in done.text.splitlines() if line.strip()]

    async def log_since(self, name: NodeName, known: list[str]) -> list[str]:
        """What came to the server's log after these lines: an earlier start's complaints say nothing about this one."""
        lines = await self.log_lines(name)
        if known and known[-1] in lines:
            lines = lines[len(lines) - lines[::-1].index(known[-1]) :]
        return lines

    def replication_secret(self) -> Secret:
        """The password of the replication role: the stored one, or a new one, stored first."""
        workspace = self.world.workspace
        secret = workspace.secret(REPLICATION_SECRET)
        if secret is None:
            secret = workspace.new_secret()
            workspace.store_secret(REPLICATION_SECRET, secret)
        return secret

    def program(self, step: Step, name: str) -> str:
        return posixpath.join(step.programs, name)

    @property
    def replication_role(self) -> str:
        return REPLICATION_ROLE
