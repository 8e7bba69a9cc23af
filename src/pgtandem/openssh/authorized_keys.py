"""pgtandem's lines in an account's authorized_keys: one per cluster and node, and nobody else's is ever touched.

Two clusters may have one name, and their nodes too: whose a line is, its comment and the folder that it serves say
together, since that folder is of one system identifier.

Everything is bytes: what others wrote need not be text in any encoding, and stays as it is.
"""

import re
import shlex

from pgtandem.model.value import dataclass

_COMMAND = b'command="sh '
_SERVES = re.compile(rb'command="(sh (?:\\"|[^"])*)"')


@dataclass(frozen=True, slots=True)
class Grant:
    """What one node's key may do on a host: run one command, nothing else.

    `public_key` is type and key as ssh-keygen writes them, without a comment; `command` an argument vector.
    """

    cluster: str
    node: str
    public_key: str
    command: tuple[str, ...]

    @property
    def system(self) -> str:
        """The system identifier of the cluster: the name of the folder that is served."""
        return self.command[2].rpartition("/")[2]

    def render(self) -> bytes:
        """The line, without its end (sshd(8), AUTHORIZED_KEYS FILE FORMAT). Raises ValueError for a line break."""
        command = shlex.join(self.command).replace('"', '\\"')
        line = f'restrict,command="{command}" {self.public_key} {_comment(self.cluster, self.node)}'
        if "\n" in line or "\r" in line or "\0" in line:
            raise ValueError(f"{line!r} is more than one line")
        return line.encode("utf-8", "surrogateescape")


def with_grant(text: bytes, grant: Grant) -> bytes:
    """The file with exactly this line of the node's, where the node's line was, or at the end."""
    line, lines, placed = grant.render(), [], False
    key = grant.public_key.encode()
    comment = b" " + _comment(grant.cluster, grant.node).encode()
    for other in text.split(b"\n"):
        # sshd takes the first line with a key: one that lost its restrictions must not stay above.
        ours = is_of(other, grant.cluster, grant.node, grant.system)
        if not ours and not (key in other and other.endswith(comment)):
            lines.append(other)
        elif not placed:
            lines.append(line)
            placed = True
    if not placed:
        if lines[-1]:
            lines.append(b"")  # the last line had no end
        lines.insert(len(lines) - 1, line)
    return b"\n".join(lines)


def without_grant(text: bytes, cluster: str, node: str, system: str) -> bytes:
    """The file without the node's line."""
    return b"\n".join(line for line in text.split(b"\n") if not is_of(line, cluster, node, system))


def granted_nodes(text: bytes, cluster: str, system: str) -> tuple[str, ...]:
    """The nodes of a cluster that have a line, in the file's order."""
    start = _comment(cluster, "").encode()
    names = [line.rpartition(b" ")[2] for line in text.split(b"\n") if _serves(line, system)]
    return tuple(
        dict.fromkeys(name.removeprefix(start).decode("utf-8", "replace") for name in names if name.startswith(start))
    )


def served_folder(line: bytes) -> str:
    """The folder that a line of pgtandem's lets its key into: that of one system identifier in an archive. "" where it
    is no such line."""
    found = _SERVES.search(line)
    if found is None:
        return ""
    try:
        words = shlex.split(found[1].decode("utf-8", "surrogateescape").replace('\\"', '"'))
    except ValueError:
        return ""
    return words[2] if len(words) > 2 else ""


def is_of(line: bytes, cluster: str, node: str, system: str) -> bool:
    """Whether a line is one that pgtandem wrote for this node: by its comment, which must not be all, and by the folder
    that it serves."""
    return _serves(line, system) and line.endswith(b" " + _comment(cluster, node).encode())


def is_let_in_to_another(text: bytes, public_key: str, system: str) -> bool:
    """Whether a key is let in for another cluster than the one with this system identifier."""
    key = b" " + public_key.encode() + b" "
    return any(key in line and served_folder(line) and not _serves(line, system) for line in text.split(b"\n"))


def _serves(line: bytes, system: str) -> bool:
    return bool(system) and _COMMAND in line and served_folder(line).rpartition("/")[2] == system


def _comment(cluster: str, node: str) -> str:
    return f"pgtandem:{cluster}:{node}"
