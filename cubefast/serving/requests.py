"""The requests that clients may send and the errors they get, both in the form of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.responses import Response

from ..utils.escaping import json_text
from ..utils.messages import shown


@dataclass(frozen=True)
class Limits:
    """The limits on what a client may request.

    Attributes:
        inputs: texts of one request for embeddings.
        characters: of one text.
        body: bytes of a request's body.
        waiting: texts of all clients that wait for the model; beyond it, requests are refused with status 503.
        seconds: for reading a request's body, and again for answering it.
    """

    inputs: int = 256
    characters: int = 32_768
    body: int = 2 * 2**20
    waiting: int = 4_096
    seconds: float = 30.0


class ApiError(Exception):
    """A request that is refused. ``param`` is the field at fault; ``code`` is for programs, as ``model_not_found``."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.content = {
            "error": {
                "message": message,
                "type": "invalid_request_error" if status < 500 else "server_error",
                "param": param,
                "code": code,
            }
        }

    def response(self) -> JSONText:
        """What the client gets."""
        return JSONText(self.content, self.status, self.headers)


class JSONText(Response):
    """JSON in which characters that would act on a terminal are escapes (see :mod:`cubefast.utils.escaping`)."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the body."""
        return json_text(content, allow_nan=False).encode()


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _as_list(value: object) -> object:
    if not isinstance(value, str | list):
        raise ValueError("must be a text or a list of texts")
    if not value and isinstance(value, list):
        raise ValueError("must have at least one text")
    return [value] if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(_not_blank)]
InputType = Literal["query", "document"]


class EmbeddingsRequest(BaseModel):
    """The body of ``POST /v1/embeddings``. ``user`` is accepted and ignored."""

    model_config = ConfigDict(strict=True, extra="forbid")
    model: str
    input: Annotated[list[Text], BeforeValidator(_as_list)]
    input_type: InputType | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None

    def texts(self) -> list[str]:
        """All texts of the request."""
        return self.input


class AskRequest(BaseModel):
    """The body of ``POST /ask``: a question, and the turns of the conversation before it, the earliest first."""

    model_config = ConfigDict(strict=True, extra="forbid")
    question: Text
    history: Annotated[list[Text], Field(max_length=100)] = []
    count: Annotated[int, Field(ge=1, le=100)] = 5

    def texts(self) -> list[str]:
        """All texts of the request."""
        return [self.question, *self.history]


Body = TypeVar("Body", EmbeddingsRequest, AskRequest)


def parse_body(body: bytes, form: type[Body], limits: Limits) -> Body:
    """Parse the request in a JSON body.

    Raises ApiError (status 400) for what is no JSON, has another field or type, or is beyond the limits; it names the
    first fault.
    """
    try:
        request = form.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    texts = request.texts()
    if isinstance(request, EmbeddingsRequest) and len(texts) > limits.inputs:
        raise ApiError(
            400,
            f"input has {len(texts):,} texts; {limits.inputs:,} are the most of one request. Send them in several",
            param="input",
        )
    for text in texts:
        if len(text) > limits.characters:
            raise ApiError(
                400,
                f"a text has {len(text):,} characters; {limits.characters:,} are the most. Shorten it, or send it in "
                "parts",
                param="input" if isinstance(request, EmbeddingsRequest) else "question",
            )
    return request


def _refusal(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first['ctx']['error']}", code="invalid_json")
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    message = str(first["msg"]).removeprefix("Value error, ")
    got = "" if first["type"] == "missing" else f"; got {shown(first['input'])}"
    return ApiError(400, f"{place or 'the body'}: {message}{got}", param=str(first["loc"][0]) if first["loc"] else None)
