"""A server of the embeddings API on this machine, as those are that people run: real HTTP, with failures on demand."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cubefast import HashingEncoder

KEY = "sk-secret-of-the-user"


@dataclass
class Failure:
    """What is answered in place of embeddings."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False  # before anything is answered


@dataclass
class EmbeddingsServer:
    """Gives the vectors of a :class:`HashingEncoder`, last one first, as a server may.

    Attributes:
        failures: given in this order in place of embeddings; None: embeddings.
        change: what is done to each answer before it is sent.
        requests: the bodies that came.
        keys: what stood in Authorization.
        paths: what was asked for.
        url: the base address.
    """

    dim: int = 64
    failures: list[Failure | None] = field(default_factory=list)
    change: Callable[[dict[str, Any]], Any] = lambda answer: answer
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, asked: dict[str, Any]) -> Any:
        """What is answered to a request."""
        texts = asked["input"]
        vectors = HashingEncoder(asked.get("dimensions", self.dim)).encode(texts) * 3  # of no unit length
        data = [{"object": "embedding", "index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)]
        return self.change({"object": "list", "data": data[::-1], "model": asked["model"]})


@contextlib.contextmanager
def serving(dim: int = 64) -> Iterator[EmbeddingsServer]:
    """A server on a free port of this machine, which ends with the block."""
    server = EmbeddingsServer(dim)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(asked)
            server.keys.append(self.headers.get("Authorization"))
            server.paths.append(self.path)
            failure = server.failures.pop(0) if server.failures else None
            if failure is not None and failure.hang_up:
                self.close_connection = True
                return
            answer = failure or Failure(body=json.dumps(server.answer(asked)).encode())
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: Any) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_port}/v1"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
