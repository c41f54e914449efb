"""What applies to every request: the allowed hosts, security headers, the answer to a failure, and metrics."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..utils.messages import shown
from .prometheus import Metrics
from .requests import ApiError

_LOG = logging.getLogger(__name__)
_GONE = 499  # nobody was there to be answered; the number is nginx's
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Protection:
    """ASGI middleware around all routes.

    A server on this machine alone can still be reached by any page that is open in a browser here, if the page's own
    name is made to point to this machine (DNS rebinding); the header Host then has that name, and is refused.

    Args:
        app: what is protected.
        metrics: count and time every request.
        policy: the Content-Security-Policy of every response.
        hosts: the names that the header Host may have; None: any. A request without one does not come from a browser.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, policy: str, hosts: frozenset[str] | None) -> None:
        self.app = app
        self.metrics = metrics
        self.headers = {**_HEADERS, "content-security-policy": policy}
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; what is not HTTP is passed on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def send_protected(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        try:
            host = _host_name(Headers(scope=scope).get("host", ""))
            if host and self.hosts and host not in self.hosts:
                message = f"this server is not called {shown(host)}; use {' or '.join(sorted(self.hosts))}"
                await ApiError(421, message).response()(scope, receive, send_protected)
            else:
                await self.app(scope, receive, send_protected)
        except ClientDisconnect:
            pass
        except Exception:
            _LOG.exception("a request failed")
            if status:  # the response has begun, and cannot become another
                raise
            await ApiError(500, "the server failed; its log says why").response()(scope, receive, send_protected)
        finally:
            # Other paths would let clients make up labels.
            route = scope["path"] if scope.get("endpoint") is not None else "other"
            self.metrics.requests.labels(route, str(status or _GONE)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)


def _host_name(host: str) -> str:
    """The host name in a Host header, without the port."""
    if host.startswith("["):  # an IPv6 address
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
