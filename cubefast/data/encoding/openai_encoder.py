"""An encoder behind an address: the embeddings API that OpenAI defined and that most servers of models speak."""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np

from ...errors import EncoderUnavailableError, InputError
from ...utils.messages import shown
from .base import Embeddings, unit_rows

BASE_URL, API_KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
"""The environment variables that say where the API is and by which key it knows its user."""

_OPENAI = "https://api.openai.com/v1"
_MOST_CHARS = 400_000  # of the texts of a request: some 100,000 tokens, of the 300,000 that OpenAI takes
_MOST_BYTES = 2**28  # of a response
_TRANSIENT_STATUSES = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))  # what may be better in a moment
_LONGEST_WAIT = 60.0  # seconds that a server may ask to wait before the next try
_SHORTEST_SECRET = 8  # characters of a key; shorter ones ("none", "EMPTY") are for servers that look at none
_MOST_SAID = 300  # characters of what a server says
_FIRST_WAIT = 0.5  # seconds, doubled with every try, where it does not say


@dataclass(eq=False, repr=False)
class OpenAIEncoder:
    """A model behind ``POST /v1/embeddings``, of OpenAI or of any server that speaks its API (vLLM, TEI, Ollama,
    llama.cpp, LM Studio, cubefast's own).

    The address is ``$OPENAI_BASE_URL`` (``https://api.openai.com/v1`` where it is not set) with ``/embeddings`` after
    it, and the key ``$OPENAI_API_KEY``; a server of your own may need none. Both are read when they are used and kept
    nowhere; the key is in no message.

    Args:
        model: the name by which the server knows the model.
        dimensions: numbers per embedding to ask for, of models that can cut their vectors; None: what the model has.
        batch_size: texts of one request, at most.
        timeout: seconds that a request may take.
        retries: how often a request is made again that failed for a passing reason: the server is busy (429) or failing
            (5xx), or the connection broke. It waits as long as ``Retry-After`` says.

    Raises InputError for a setting that cannot be.
    """

    known_by_name = True
    """See :func:`~cubefast.data.encoding.create_encoder.is_known_by_name`."""

    model: str
    _: KW_ONLY
    dimensions: int | None = None
    batch_size: int = 256
    timeout: float = 60
    retries: int = 5

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise InputError("OpenAIEncoder needs the name of a model, such as openai:text-embedding-3-small")
        for name in ("dimensions", "batch_size", "timeout"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise InputError(f"{self}: {name} must be more than 0; got {value}")
        if self.retries < 0:
            raise InputError(f"{self}: retries must be at least 0; got {self.retries}")

    @cached_property
    def dim(self) -> int:
        """Numbers per embedding. Asks the server, unless ``dimensions`` says it."""
        return self.dimensions or self._request(["dimension"]).shape[1]

    @property
    def fingerprint(self) -> str:
        """The model's name and dim. Not its address, which may change; a server may so have another model under the
        name of an old one, which is noticed where its vectors are compared with those that were kept.
        """
        return f"openai-v1-{self.model}-{self.dim}"

    def encode(self, texts: list[str]) -> Embeddings:
        """float32 [n, dim], unit rows.

        Raises:
            EncoderUnavailableError: the server cannot be reached, or fails again and again.
            InputError: it refuses the request, or what it gives is no vector of ``dim`` finite numbers for each text.
        """
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        parts = [self._request(batch) for batch in self._batches(texts)]
        dims = {part.shape[1] for part in parts} | ({self.dim} if self.dimensions or "dim" in vars(self) else set())
        if len(dims) > 1:
            sizes = " and of ".join(map(str, sorted(dims)))
            raise InputError(f"{self}: it gives vectors of {sizes} numbers; they must have one size")
        self.dim = dims.pop()
        return unit_rows(np.concatenate(parts), texts)

    def __str__(self) -> str:
        """As it is named in a config, and in messages."""
        return f"openai:{self.model}"

    def _batches(self, texts: list[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        chars = 0
        for text in texts:
            if batch and (len(batch) == self.batch_size or chars + len(text) > _MOST_CHARS):
                yield batch
                batch, chars = [], 0
            batch.append(text)
            chars += len(text)
        yield batch

    def _request(self, texts: list[str]) -> Embeddings:
        """float32 [n, D], as the server gives them."""
        asked: dict[str, Any] = {"model": self.model, "input": texts}
        if self.dimensions is not None:
            asked["dimensions"] = self.dimensions
        return self._vectors(self._send(json.dumps(asked).encode()), len(texts))

    def _send(self, body: bytes) -> bytes:
        """What the server answers to a request; tried again where that may help."""
        address, key = _address(), _key()
        request = urllib.request.Request(address.geturl(), body, _HEADERS)
        if key:
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        elif address.geturl().startswith(_OPENAI):
            raise InputError(
                f"{self} needs a key: set {API_KEY}, or {BASE_URL} to the address of a server of your own, such as "
                "http://localhost:8000/v1"
            )
        where = f"{self} at {address.scheme}://{address.netloc}{address.path}"  # what follows a question mark is secret
        opener = urllib.request.build_opener(_NoRedirects)
        for attempt in range(self.retries + 1):
            wait = _FIRST_WAIT * 2**attempt
            try:
                with opener.open(request, timeout=self.timeout) as response:
                    return _content(response, self.timeout)
            except urllib.error.HTTPError as error:
                with error:
                    failure, passes, wait = (
                        _refusal(error, where, key),
                        error.code in _TRANSIENT_STATUSES,
                        _wait(error, wait),
                    )
            except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                # A refused connection or an untrusted certificate would fail again: only broken ones are tried again.
                passes = reason is error or isinstance(reason, (ConnectionResetError, BrokenPipeError))
                failure = EncoderUnavailableError(
                    f"{where} cannot be reached: {_redacted(str(reason) or type(reason).__name__, key)}. Check that it "
                    f"runs, and {BASE_URL}"
                )
            if not passes or attempt == self.retries:
                break
            if wait > _LONGEST_WAIT:
                raise EncoderUnavailableError(f"{failure}. It asks to wait {wait:,.0f} s: try again then")
            time.sleep(wait)
        raise failure

    def _vectors(self, content: bytes, count: int) -> Embeddings:
        """The vectors of a response in the order of the texts, which ``index`` says."""

        def wrong(what: str) -> InputError:
            what = _redacted(what, _key())
            return InputError(f"{self}: {what}. Check that {BASE_URL} is the address of an embeddings API")

        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise wrong(f"its answer is not JSON but {shown(content[:60].decode('utf-8', 'replace'))}") from None
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise wrong(f"its answer has no list of embeddings under data but is {shown(answer)}")
        if len(data) != count:
            raise wrong(f"it gives {len(data)} embeddings for {count} texts")
        places = [item.get("index") for item in data]
        if not all(type(place) is int for place in places) or sorted(places) != list(range(count)):
            raise wrong(f"the index of its embeddings must be each of 0 to {count - 1} once; got {shown(places)}")
        ordered = [item.get("embedding") for item in sorted(data, key=lambda item: item["index"])]
        if others := [row for row in ordered if not isinstance(row, list)]:
            raise wrong(f"an embedding must be a list of numbers; got {shown(others[0])}")
        if len(sizes := {len(row) for row in ordered}) > 1 or 0 in sizes:
            raise wrong(f"it gives vectors of {' and of '.join(map(str, sorted(sizes)))} numbers in one answer")
        try:
            with np.errstate(over="ignore"):  # what is too large becomes Inf, which is looked for later
                return np.array(ordered, np.float64).astype(np.float32)
        except (TypeError, ValueError, OverflowError):
            raise wrong(f"an embedding must be a list of numbers; got {shown(ordered[0])}") from None


_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "cubefast"}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the request would be made again without its body, at an address that nobody chose."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _address() -> SplitResult:
    """Where the embeddings are. Raises InputError without showing the address, which may hold a password."""
    base = os.environ.get(BASE_URL, "").strip() or _OPENAI
    try:
        parts = urlsplit(base)
        _ = parts.port
    except ValueError as error:
        raise InputError(f"{BASE_URL} is no address: {error}. Set it to one such as http://localhost:8000/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not base.isascii() or not base.isprintable():
        raise InputError(f"{BASE_URL} must be an address such as http://localhost:8000/v1 or {_OPENAI}")
    if parts.username is not None or " " in base:
        raise InputError(f"{BASE_URL} must have neither a user nor blanks; a key is set in {API_KEY}")
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith("/embeddings") else f"{path}/embeddings", fragment="")


def _key() -> str:
    """The key, or "". Raises InputError without showing it."""
    key = os.environ.get(API_KEY, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"{API_KEY} is no key: it has blanks, line breaks or letters beyond ASCII. Set it again")
    return key


def _content(response: Any, seconds: float) -> bytes:
    """The body of a response, whole, within a size and a time."""
    until = time.monotonic() + seconds
    content = bytearray()
    while piece := response.read1(1 << 20):
        content += piece
        if len(content) > _MOST_BYTES:
            raise InputError(f"the embeddings API answers with more than {_MOST_BYTES:,} bytes; lower batch_size")
        if time.monotonic() > until:
            raise TimeoutError(f"it took longer than {seconds:g} s to answer")
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(content)


def _refusal(error: urllib.error.HTTPError, where: str, key: str) -> InputError:
    """What is said of an answer other than 200: what the server says, and what may help."""
    try:
        said = _message(error.read(10_000))
    except (OSError, http.client.HTTPException):
        said = ""
    if 300 <= error.code < 400:
        said = f"moved to {error.headers.get('Location')}"
    too_much = (
        ". If a text is too long, drop it with data.quality.max_chars; if they are too many at once, say "
        "openai:MODEL?batch_size=32"
    )
    advice = {
        **dict.fromkeys((401, 403), f". Check {API_KEY}"),
        404: f". Check the model's name and {BASE_URL}, which most often ends in /v1",
        **dict.fromkeys((400, 413, 422), too_much),
    }.get(error.code, f". Check {BASE_URL}" if 300 <= error.code < 400 else "")
    kind = EncoderUnavailableError if error.code in _TRANSIENT_STATUSES or error.code in (401, 403, 404) else InputError
    reason = " ".join(said[:_MOST_SAID].split()).rstrip(".")
    return kind(_redacted(f"{where} answers {error.code} {error.reason}{': ' + reason if reason else ''}{advice}", key))


def _message(content: bytes) -> str:
    """The sentence of a refusal, wherever servers put it."""
    text = content.decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    return found if isinstance(found, str) else json.dumps(found)


def _redacted(text: str, key: str) -> str:
    """The text without the key, which a server might repeat."""
    return text.replace(key, "***") if len(key) >= _SHORTEST_SECRET else text


def _wait(error: urllib.error.HTTPError, otherwise: float) -> float:
    """Seconds until the next try: what ``Retry-After`` says, as a number or a date."""
    said = error.headers.get("Retry-After", "").strip()
    if said.replace(".", "", 1).isdecimal() and len(said) < 20:
        return float(said)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return otherwise
