"""Whether a process waits for the first packet of its host, on real sockets of this machine."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pgtandem.adapters.hosts.ssh_silence import knocks_in_vain
from support.servers import wait_until

_CONNECTS = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))); print('there'); input()"


@contextmanager
def client(port: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _CONNECTS, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_connection_that_nobody_answers_is_in_vain() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = server.getsockname()[1]
        for _ in range(4):  # what comes once the queue is full is dropped, as by a firewall
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        process = stack.enter_context(client(port))
        wait_until(lambda: knocks_in_vain(process.pid), "its attempt is seen", 10)


def test_a_server_that_has_not_said_anything_yet_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, client(server.getsockname()[1]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        assert not knocks_in_vain(process.pid)


def test_a_process_that_is_gone_does_not_knock() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert not knocks_in_vain(process.pid)
