"""The port Workspace in memory. It outlives a killed pgtandem, and the lock ends with its holder."""

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pgtandem.errors import PgtandemError
from pgtandem.model.names import Secret
from pgtandem.ports import BuiltNode, LockHolder
from pgtandem.testing.probe import Call, Moment, Probe


class MemoryWorkspace:
    """Secrets and tokens are counted, not random: the same run makes the same ones."""

    title = "workspace"

    def __init__(self, probe: Probe | None = None) -> None:
        self.probe = probe or Probe()
        self.locked_by: str | None = None
        self._gives_way = False
        self._wanted_by: str | None = None
        self._secrets: dict[str, Secret] = {}
        self._journal: list[dict[str, Any]] = []
        self._nodes: tuple[BuiltNode, ...] = ()
        self._passfile = ""
        self._root_certificate = ""
        self._tokens = 0
        self.given: dict[str, str] = {}
        self._versions: Mapping[str, str] = {}

    def secret(self, name: str) -> Secret | None:
        self._begin("secret", name, changes=False)
        return self._secrets.get(name)

    def store_secret(self, name: str, secret: Secret) -> None:
        call = self._begin("store_secret", name)
        self._secrets[name] = secret
        self._end(call)

    def change_secrets(self, changes: Mapping[str, Secret | None]) -> None:
        call = self._begin("change_secrets", " ".join(changes))
        kept = {name: secret for name, secret in self._secrets.items() if name not in changes}
        self._secrets = {**kept, **{name: secret for name, secret in changes.items() if secret is not None}}
        self._end(call)

    def new_secret(self) -> Secret:
        self._tokens += 1
        return Secret(f"secret{self._tokens:027d}")

    def write_passfile(self, lines: str, *, restored: bool = False) -> str:
        call = self._begin("write_passfile", "")
        if not restored:
            self._passfile = lines
        self._end(call)
        return "/workspace/restored.passfile" if restored else "/workspace/passfile"

    def write_root_certificate(self, text: str) -> str:
        call = self._begin("write_root_certificate", "")
        self._root_certificate = text
        self._end(call)
        return "/workspace/ca.crt"

    def root_certificate(self) -> tuple[str, str] | None:
        self._begin("root_certificate", "", changes=False)
        return ("/workspace/ca.crt", self._root_certificate) if self._root_certificate else None

    def read_given(self, path: str) -> str:
        self._begin("read_given", path, changes=False)
        if path not in self.given:
            raise PgtandemError("PT-1002", f"could not read {path}", why="No such file or directory.")
        return self.given[path]

    def given_secret(self, path: str) -> Secret:
        return Secret(self.read_given(path).strip("\r\n"))

    def versions(self) -> Mapping[str, str]:
        return self._versions

    def remember_versions(self, versions: Mapping[str, str]) -> None:
        call = self._begin("remember_versions", "")
        self._versions = dict(versions)
        self._end(call)

    @contextmanager
    def lock(self, command: str) -> Iterator[None]:
        call = self._begin("lock", command)
        if self.locked_by is not None:
            raise PgtandemError(
                "PT-5001", "another pgtandem is at work on this cluster", why=f'It runs "{self.locked_by}".'
            )
        self.locked_by = command
        try:
            self._end(call)
            yield
        finally:
            self.locked_by, self._gives_way = None, False

    def give_way(self, yes: bool) -> None:
        self._gives_way = yes and self.locked_by is not None

    def lock_holder(self) -> LockHolder | None:
        return None if self.locked_by is None else _holder(self.locked_by, self._gives_way)

    @contextmanager
    def want_lock(self, command: str) -> Iterator[None]:
        if self._wanted_by is not None:
            raise PgtandemError(
                "PT-5001", "another pgtandem waits for the lock already", why=f'It runs "{self._wanted_by}".'
            )
        self._wanted_by = command
        try:
            yield
        finally:
            self._wanted_by = None

    def lock_wanted_by(self) -> LockHolder | None:
        return None if self._wanted_by is None else _holder(self._wanted_by)

    def record(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, default=_masked)
        call = self._begin("record", str(entry.get("event", "")))
        self._journal.append(json.loads(line))
        self._end(call)

    def journal(self) -> list[dict[str, Any]]:
        return copy.deepcopy(self._journal)

    def built_nodes(self) -> tuple[BuiltNode, ...]:
        self._begin("built_nodes", "", changes=False)
        return self._nodes

    def remember_node(self, node: BuiltNode) -> None:
        call = self._begin("remember_node", node.name)
        self._nodes = (*(other for other in self._nodes if other.name != node.name), node)
        self._end(call)

    def forget_node(self, name: str) -> None:
        call = self._begin("forget_node", name)
        self._nodes = tuple(node for node in self._nodes if node.name != name)
        self._end(call)

    def login(self) -> str:
        return "operator"

    def token(self) -> str:
        self._tokens += 1
        return f"{self._tokens:016x}"

    def clear(self) -> None:
        call = self._begin("clear", "")
        self._secrets, self._journal, self._nodes, self._passfile = {}, [], (), ""
        self._root_certificate, self._versions = "", {}
        self._end(call)

    def _begin(self, method: str, subject: str, *, changes: bool = True) -> Call:
        return self.probe.begin(self.title, method, subject, changes=changes)

    def _end(self, call: Call) -> None:
        self.probe.at(call, Moment.AFTER)


def _holder(command: str, gives_way: bool = False) -> LockHolder:
    return LockHolder(4711, "simulated", "operator", command, 0, gives_way)


def _masked(value: object) -> str:
    """A secret is recorded as stars; what else is not JSON is refused."""
    if isinstance(value, Secret):
        return str(value)
    raise TypeError(f"cannot be recorded: {type(value).__name__}")
