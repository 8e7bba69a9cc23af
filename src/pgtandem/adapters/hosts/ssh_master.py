"""One login on a host, which all sessions share (ssh's ControlMaster): its folder, and what leads through it.

The folder is private. It holds the master's socket, the sockets that lead to servers on the host, and, where the login
outlives the command that made it, what ssh had to say after it went to the background.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
from dataclasses import dataclass, field

#: What ssh says when the host's sshd denies a forwarded connection.
DENIED = b"administratively prohibited"

#: How much of ssh's own words is looked at.
_SAID_BYTES = 16384

#: How long the master, a process of this machine, may take to answer.
_ANSWER_SECONDS = 1.0

# The words of OpenSSH's PROTOCOL.mux that are spoken here.
_HELLO, _VERSION, _ALIVE_CHECK, _ALIVE = 0x00000001, 4, 0x10000004, 0x80000005


@dataclass(slots=True)
class Master:
    """`lasts` where ssh went to the background and stays for a while; else the login ends with the helper's ssh.

    `since` is when it logged in (seconds of the clock), `login_seconds` how long that took.
    """

    folder: str
    lasts: bool
    since: float = 0.0
    login_seconds: float = 0.0
    #: What is carried already: ports, and Unix sockets of the host with the folder here that leads to each.
    ports: set[int] = field(default_factory=set)
    sockets: dict[str, str] = field(default_factory=dict)
    _unread: int = 0

    @property
    def socket(self) -> str:
        return os.path.join(self.folder, "ssh")

    @property
    def control_path(self) -> str:
        """The socket as ssh's -S reads it."""
        return self.socket.replace("%", "%%")

    @property
    def _log(self) -> str:
        return os.path.join(self.folder, "log")

    def options(self) -> list[str]:
        """Makes an ssh this master."""
        log = ["-E", self._log] if self.lasts else []
        return [*log, "-M", "-S", self.control_path]

    def process(self) -> int | None:
        """The master's process, asked over its socket; None when it does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(_ANSWER_SECONDS)
                line.connect(self.socket)
                line.sendall(struct.pack(">III", 8, _HELLO, _VERSION))
                _packet(line)
                line.sendall(struct.pack(">III", 8, _ALIVE_CHECK, 0))
                kind, _, pid = struct.unpack(">III", _packet(line)[:12])
        except (OSError, struct.error):
            return None
        return int(pid) if kind == _ALIVE and pid > 1 else None

    def said(self) -> str:
        """What ssh said since this command has the login, where that is not on the helper's stderr."""
        return self._tail(self._unread).decode(errors="replace")

    def denies_forwarding(self) -> bool:
        return DENIED in self._tail(0)

    def pass_on(self) -> None:
        """What was said so far concerns another command."""
        with contextlib.suppress(OSError):
            self._unread = os.path.getsize(self._log)

    def end(self) -> None:
        """Ends the login, and with it every session, and removes the folder."""
        if self.lasts and (pid := self.process()) is not None:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tail(self, start: int) -> bytes:
        try:
            with open(self._log, "rb") as log:
                log.seek(max(start, os.fstat(log.fileno()).st_size - _SAID_BYTES))
                return log.read()
        except OSError:
            return b""


def _packet(line: socket.socket) -> bytes:
    (length,) = struct.unpack(">I", _exactly(line, 4))
    return _exactly(line, min(length, 4096))


def _exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = line.recv(count - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data
