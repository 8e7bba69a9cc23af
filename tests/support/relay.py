"""A slow network between two servers on one machine: a relay that lets so many bytes through, and then waits."""

import socket
import threading
from contextlib import suppress
from typing import Self


class Relay:
    """Listens on `port` of 127.0.0.1 and leads to `target`. Of what comes back from there `limit` bytes go through;
    the rest waits until the relay ends. Use it as a context manager."""

    def __init__(self, target: int, limit: int) -> None:
        self.target, self.limit = target, limit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ends: list[socket.socket] = [self._listener]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self._ends += [near, far]
                threading.Thread(target=self._carry, args=(near, far, None), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, self.limit), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        with suppress(OSError):
            while left is None or left > 0:
                content = source.recv(65536)
                if not content:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(content)
                left = None if left is None else left - len(content)
