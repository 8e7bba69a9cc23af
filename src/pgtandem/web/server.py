"""The exporter: metrics and health checks over HTTP, from the looks of one Watcher.

Requests are served by threads of the standard library's WSGI server, and looks are taken in the one event loop that the
adapters live in: a thread hands its question over and waits for the answer.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric

from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.observe.watching import Watcher
from pgtandem.web.checks import Answer, check_primary, check_standby, parse_limits
from pgtandem.web.metrics import LookStatistics, metrics

#: How long a look is waited for. A scrape has time (10 s by default); a health check has not.
_SCRAPE_SECONDS, _CHECK_SECONDS = 5.0, 2.0
#: A client that sends nothing for so long is hung up on.
_SILENT_SECONDS = 10.0

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

Start = Callable[[str, list[tuple[str, str]]], Any]


class Exporter:
    """Answers until `close`. Made and closed in the event loop that the watcher belongs to."""

    def __init__(self, watcher: Watcher, address: str, port: int) -> None:
        """Raises PgtandemError PT-1010 where the address cannot be listened on."""
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        registry = CollectorRegistry()
        registry.register(_Collector(self._look, watcher))
        self._metrics = make_wsgi_app(registry)
        server_class = _Server6 if ":" in address else _Server
        try:
            self._server = make_server(address, port, self._serve, server_class, _Handler)
        except (OSError, OverflowError) as error:
            why = f"{getattr(error, 'strerror', None) or error}."
            raise PgtandemError(
                "PT-1010",
                f"could not listen on {shown_address(address, port)}",
                why=why[:1].upper() + why[1:],
                next_step="pgtandem exporter --listen ADDRESS:PORT   (another one)",
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    async def close(self) -> None:
        """Takes no more requests; those under way are answered, or not."""
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()

    def _look(self, patience_seconds: float) -> Observed:
        """From a thread that serves a request. Raises TimeoutError, where the loop itself does not answer."""
        coroutine = self._watcher.look(patience_seconds)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(patience_seconds + 3)

    def _serve(self, environment: dict[str, Any], start: Start) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] not in ("GET", "HEAD", "OPTIONS"):
            answer = Answer(405, "only GET, HEAD and OPTIONS")
        elif environment["PATH_INFO"] == "/metrics":
            served: Iterable[bytes] = self._metrics(environment, start)
            return served if environment["REQUEST_METHOD"] != "HEAD" else []
        else:
            answer = self._answer(environment["PATH_INFO"], environment.get("QUERY_STRING", ""))
        text = f"{answer.text}\n".encode()
        start(
            f"{answer.status} {_REASONS[answer.status]}",
            [
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Content-Length", str(len(text))),
                ("Cache-Control", "no-store"),
            ],
        )
        return [] if environment["REQUEST_METHOD"] == "HEAD" else [text]

    def _answer(self, path: str, query: str) -> Answer:
        topology = self._watcher.topology
        words = [word for word in path.split("/") if word]
        if not words:
            return Answer(200, _index(topology.names))
        if words == ["live"]:
            return Answer(200, "the exporter lives")
        name = None
        if words[0] == "nodes" and len(words) == 3:
            if words[1] not in topology.names:
                return Answer(404, f'cluster {topology.cluster} has no node "{words[1]}"')
            name, words = NodeName(words[1]), words[2:]
        if words not in (["primary"], ["standby"]):
            return Answer(404, _index(topology.names))
        try:
            limits = parse_limits(parse_qs(query, keep_blank_values=True, max_num_fields=10))
        except ValueError as error:
            return Answer(400, str(error))
        try:
            observed = self._look(_CHECK_SECONDS)
        except TimeoutError:
            return Answer(503, "the exporter is too busy to look")
        if words == ["primary"]:
            return check_primary(topology, observed, name)
        return check_standby(topology, observed, limits, self._watcher.last_written, name)


class _Collector:
    """What the client library asks for the metrics, once per scrape."""

    def __init__(self, look: Callable[[float], Observed], watcher: Watcher) -> None:
        self._look, self._watcher = look, watcher

    def describe(self) -> Sequence[Metric]:
        """Nothing: the library would take a look at registration otherwise."""
        return ()

    def collect(self) -> Iterator[Metric]:
        watcher = self._watcher
        observed = self._look(_SCRAPE_SECONDS)
        yield from metrics(watcher.topology, observed, LookStatistics(watcher.looks, watcher.last_seconds))


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        # Without the name lookup of the base class: a resolver that hangs must not.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's failure."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _SILENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Health checks come every second: nothing is said about them."""

    def address_string(self) -> str:
        return str(self.client_address[0])


def shown_address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _index(names: Sequence[str]) -> str:
    node = names[0]
    return "\n".join(
        [
            "pgtandem exporter",
            "/metrics               for Prometheus",
            "/primary, /standby     200 where there is one, 503 where there is none",
            f"/nodes/{node}/primary     200 where {node} is the primary",
            f"/nodes/{node}/standby     200 where {node} is a standby that may be read from",
            "                       ?max_lag_bytes=N and ?max_lag_seconds=S limit how far it may be behind",
            "/live                  200: the exporter itself",
        ]
    )
