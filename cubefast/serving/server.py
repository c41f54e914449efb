"""The server process: its socket, and how it stops."""

from __future__ import annotations

import ipaddress
import signal
import socket
from math import ceil

import uvicorn
from starlette.types import ASGIApp

from ..errors import InputError

LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach a server that listens at ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; with ``port`` 0 on a free port.

    Raises InputError for a host that is not this machine's, or a port that is taken or not allowed.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        reason = str(error.strerror if isinstance(error, OSError) else error).partition(" (while")[0]
        raise InputError(
            f"cannot listen at {host}, port {port}: {reason}. Choose another --port (0: any that is free) or --host"
        ) from None


def address(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGIApp, listening: socket.socket, seconds: float) -> None:
    """Serve until SIGTERM or Ctrl-C. No new connection is then accepted, and running requests are finished within
    ``seconds``; a second Ctrl-C does not wait for them.
    """
    config = uvicorn.Config(
        app,
        lifespan="on",
        http="h11",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=ceil(seconds),
    )
    # Once stopped, uvicorn raises the signal again, for the handlers that were there before it.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
