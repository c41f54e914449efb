"""The routes of the server: an ASGI application around a :class:`~cubefast.serving.service.Service`."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import anyio
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .._version import __version__
from ..errors import EncoderUnavailableError, InputError
from ..utils.messages import shown
from .batching import Batcher, Item, Output, QueueFullError
from .middleware import Protection
from .page import load_page
from .prometheus import Metrics
from .requests import ApiError, AskRequest, Body, EmbeddingsRequest, InputType, JSONText, Limits, parse_body
from .service import Service

_LARGEST_BATCH = 64
_LOG = logging.getLogger("uvicorn.error")


def create_app(service: Service, limits: Limits | None = None, *, hosts: Iterable[str] | None = None) -> Starlette:
    """The ASGI application that serves a run.

    Args:
        service: what is asked.
        limits: what a client may ask for; None: the defaults.
        hosts: the names by which clients may call the server (the header Host, without its port); None: any.
    """
    server = _Server(service, limits or Limits())
    app = Starlette(
        routes=[
            Route("/", server.page, methods=["GET"]),
            Route("/health", server.health, methods=["GET"]),
            Route("/metrics", server.metrics_text, methods=["GET"]),
            Route("/v1/models", server.models, methods=["GET"]),
            Route("/v1/embeddings", server.embeddings, methods=["POST"]),
            Route("/ask", server.ask, methods=["POST"]),
        ],
        middleware=[
            Middleware(
                Protection,
                metrics=server.metrics,
                policy=server.page_policy,
                hosts=None if hosts is None else frozenset(hosts),
            )
        ],
        exception_handlers={ApiError: _refused, HTTPException: _not_served},
        lifespan=server.lifespan,
    )
    app.router.redirect_slashes = False
    return app


class _Server:
    """The handlers of the routes and what they share."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self.service = service
        self.limits = limits
        self.metrics = Metrics()
        self._page, self.page_policy = load_page()
        # One thread: torch and the kernel use all cores for each call, and several calls at once would be slower.
        self._executor = ThreadPoolExecutor(1, "cubefast-model")
        self._queries = self._batcher("query", service.embed_queries)
        self._documents = self._batcher("document", service.embed_documents)
        self._questions = self._batcher("question", service.ask)

    def _batcher(self, kind: str, function: Any) -> Batcher[Any, Any]:
        batcher: Batcher[Any, Any] = Batcher(
            function,
            self._executor,
            largest=_LARGEST_BATCH,
            waiting=self.limits.waiting,
            report=self.metrics.batch_size.labels(kind).observe,
        )
        self.metrics.waiting.labels(kind).set_function(lambda: len(batcher))
        return batcher

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """End the model's thread when the server stops."""
        yield
        self._executor.shutdown(cancel_futures=True)

    async def page(self, request: Request) -> Response:
        """GET /: the page."""
        return Response(self._page, media_type="text/html")

    async def health(self, request: Request) -> Response:
        """GET /health: that the server answers, and what it serves."""
        service, calibration = self.service, self.service.calibration
        return JSONText(
            {
                "status": "ok",
                "version": __version__,
                "model": service.name,
                "dim": service.pipeline.core.dim,
                "known_questions": None if service.known_questions is None else len(service.known_questions.texts),
                "threshold": service.threshold,
                "calibration": calibration and {**calibration.as_dict(), "interval": calibration.interval},
            }
        )

    async def metrics_text(self, request: Request) -> Response:
        """GET /metrics: for Prometheus."""
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def models(self, request: Request) -> Response:
        """GET /v1/models: the names under which texts are embedded as queries and as documents."""
        names = [f"{self.service.name}:{kind}" for kind in ("query", "document")]
        return JSONText(
            {
                "object": "list",
                "data": [{"id": name, "object": "model", "created": 0, "owned_by": "cubefast"} for name in names],
            }
        )

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings: queries through the core, documents as an index is to hold them."""
        asked = await self._read(request, EmbeddingsRequest)
        kind = self._kind(asked)
        dim = self.service.pipeline.core.dim
        if asked.dimensions not in (None, dim):
            raise ApiError(
                400, f"dimensions: the embeddings have {dim} numbers; leave it out, or say {dim}", param="dimensions"
            )
        vectors = await self._compute(self._queries if kind == "query" else self._documents, asked.input)
        if asked.encoding_format == "base64":
            encoded = [base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii") for vector in vectors]
        else:
            encoded = [vector.tolist() for vector in vectors]
        content = {
            "object": "list",
            "data": [{"object": "embedding", "index": row, "embedding": each} for row, each in enumerate(encoded)],
            "model": asked.model,
            "usage": {"prompt_tokens": 0, "total_tokens": 0},
        }
        return Response(to_json(content), media_type="application/json")

    def _kind(self, asked: EmbeddingsRequest) -> InputType:
        """Whether the texts are queries or documents. The client must say so, because a wrong guess would not be
        noticed.
        """
        name = self.service.name
        kinds: dict[str, InputType | None] = {name: None, f"{name}:query": "query", f"{name}:document": "document"}
        if asked.model not in kinds:
            raise ApiError(
                404,
                f"there is no model {shown(asked.model)}; there are {', '.join(kinds)}",
                param="model",
                code="model_not_found",
            )
        named, typed = kinds[asked.model], asked.input_type
        if named is not None and typed not in (None, named):
            raise ApiError(400, f"input_type: the model {asked.model} is for {named}; got {typed}", param="input_type")
        kind = named or typed
        if kind is None:
            raise ApiError(
                400,
                f'say what the texts are: model "{name}:query" or "{name}:document", or input_type "query" or '
                '"document"; queries go through the core, documents do not',
                param="input_type",
            )
        return kind

    async def ask(self, request: Request) -> Response:
        """POST /ask: the answers to a question, and what they were before the core."""
        asked = await self._read(request, AskRequest)
        (result,) = await self._compute(self._questions, [asked])
        return JSONText(
            {
                "question": asked.question,
                "answers": list(map(asdict, result.answers)),
                "known": self.service.is_known(result.answers),
                "threshold": self.service.threshold,
                "before": list(map(asdict, result.before)),
                "similar_questions": None if result.similar is None else list(map(asdict, result.similar)),
            }
        )

    async def _read(self, request: Request, form: type[Body]) -> Body:
        """The request's body, checked; no more of it is read than is allowed."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # what a page of another site could send without asking the browser first
            raise ApiError(415, f"the body must be application/json; got {kind[:100] or 'no content-type'}")
        too_large = ApiError(
            413,
            f"the body has more than {self.limits.body:,} bytes, which are the most. Send less at once",
            headers={"connection": "close"},
        )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.limits.body:
            raise too_large
        body = bytearray()
        try:
            with anyio.fail_after(self.limits.seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > self.limits.body:
                        raise too_large
        except TimeoutError:
            raise ApiError(
                408, f"the body did not arrive within {self.limits.seconds:g} s", headers={"connection": "close"}
            ) from None
        return parse_body(bytes(body), form, self.limits)

    async def _compute(self, batcher: Batcher[Item, Output], items: Sequence[Item]) -> list[Output]:
        try:
            with anyio.fail_after(self.limits.seconds):
                return await batcher(items)
        except TimeoutError:
            raise ApiError(504, f"there was no answer within {self.limits.seconds:g} s; ask for less at once") from None
        except QueueFullError:
            raise ApiError(
                503, "the server has more to do than it can; ask again later", headers={"retry-after": "1"}
            ) from None
        except EncoderUnavailableError as error:
            _LOG.error("%s", error)  # where the encoder is is no client's business
            raise ApiError(502, "the encoder behind this server does not answer; ask again later") from None
        except InputError as error:
            raise ApiError(400, str(error)) from None


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _not_served(request: Request, error: Exception) -> Response:
    """Unknown routes and wrong methods, which Starlette refuses."""
    assert isinstance(error, HTTPException)
    allowed = (error.headers or {}).get("Allow")
    message = (
        f"{request.method} is not for this address; use {allowed}"
        if allowed
        else "there is nothing at this address; there are GET /, /health, /metrics, /v1/models, and POST /ask, "
        "/v1/embeddings"
    )
    return ApiError(error.status_code, message, headers=error.headers).response()
