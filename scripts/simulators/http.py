"""HTTP for the simulators, on Starlette: requests checked, JSON, refusals, replies that never come."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 64 * 1024
"""What a request may bring where nothing else is said."""
HOLD_SECONDS = 60
"""How long a reply that never comes keeps its connection open, when the client doesn't leave before."""
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
KEY = re.compile(r"[\x20-\x7e]{1,255}")
LARGEST_AMOUNT = 10**12
"""Millions of charges of this size still add up within SQLite's 64 bits."""


class Answer(JSONResponse):
    """A status and the JSON that goes with it."""

    def __init__(
        self, status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status, headers)

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class NoReply(Answer):
    """What a handler returns when its client must wait in vain: 504, as of a proxy, after a long while."""

    def __init__(self, hold_seconds: float = HOLD_SECONDS) -> None:
        super().__init__(504, {"code": "no_reply", "detail": "The reply never came."})
        self.hold_seconds = hold_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self.hold_seconds):
                while (await receive())["type"] != "http.disconnect":
                    continue
        except TimeoutError:
            await super().__call__(scope, receive, send)


class Refused(Exception):
    """A request that ends with an error: its status, a code for programs, a sentence for people."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.answer = Answer(status, {"code": code, "detail": detail, **more}, headers)


Handler = Callable[[Request], Awaitable[Answer]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Path, then method, to the function that answers."""


def application(routes: Routes, *, largest_body: int = LARGEST_BODY) -> ASGIApp:
    """The ASGI application of these routes. Whatever comes in, it answers JSON and shows no traceback."""
    paths = {"/healthz": {"GET": _health}, **routes}
    app = Starlette(
        routes=[Route(path, _endpoint(handlers), methods=METHODS) for path, handlers in paths.items()],
        exception_handlers={Refused: _refused, HTTPException: _not_found, Exception: _failed},
    )
    app.router.redirect_slashes = False

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        length = 0

        async def receive_some() -> Message:
            nonlocal length
            message = await receive()
            length += len(message.get("body", b""))
            if length > largest_body:
                raise Refused(413, "too_large", f"The body is over {largest_body} bytes.")
            return message

        await app(scope, receive_some, send)

    return limited


def _endpoint(handlers: Mapping[str, Handler]) -> Handler:
    async def answer(request: Request) -> Answer:
        if request.method not in handlers:
            allowed = ", ".join(handlers)
            raise Refused(
                405, "method_not_allowed", f"This path takes {allowed}.", headers={"allow": allowed}
            )
        return await handlers[request.method](request)

    return answer


async def _health(request: Request) -> Answer:
    return Answer(200, {"status": "ok"})


async def _refused(request: Request, error: Exception) -> Answer:
    assert isinstance(error, Refused)
    return error.answer


async def _not_found(request: Request, error: Exception) -> Answer:
    assert isinstance(error, HTTPException)
    paths = ", ".join(route.path for route in request.app.routes)
    detail = f"There is nothing at this path. There is {paths}."
    return Answer(error.status_code, {"code": "not_found", "detail": detail})


async def _failed(request: Request, error: Exception) -> Answer:
    return Answer(500, {"code": "internal_error", "detail": "The simulator failed; its log says why."})


def moment(value: str) -> datetime:
    """The instant that an RFC 3339 time with its offset names. Raises ValueError."""
    read = datetime.fromisoformat(value)
    if read.tzinfo is None:
        raise ValueError("a time needs its offset, such as Z")
    try:
        return read.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is outside the calendar") from error


def _instant(value: str) -> str:
    moment(value)
    return value


Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Amount = Annotated[int, Field(ge=1, le=LARGEST_AMOUNT)]
"""In the currency's minor unit."""
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Instant = Annotated[Text, AfterValidator(_instant)]
"""An RFC 3339 time with its offset, kept as it was sent."""


class Body(BaseModel):
    """The fields of a request's JSON object."""

    model_config = ConfigDict(strict=True, frozen=True)


Form = TypeVar("Form", bound=Body)


async def read(request: Request, form: type[Form]) -> Form:
    """The request's body. Raises Refused naming the field that is wrong."""
    return checked(await read_object(request), form)


async def read_object(request: Request) -> dict[str, Any]:
    """The request's JSON object. Raises Refused."""
    try:
        fields = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise Refused(400, "malformed_json", f"The body is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise Refused(400, "invalid", "The body is not a JSON object.")
    return fields


def checked(fields: Mapping[str, Any], form: type[Form]) -> Form:
    """The fields as the form has them. Raises Refused naming the first that is wrong."""
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise invalid(".".join(map(str, first["loc"])), first["msg"]) from error


def idempotency_key(request: Request) -> str:
    """The key in the request's header. Raises Refused."""
    key = request.headers.get("idempotency-key")
    if not key:
        raise Refused(400, "idempotency_key_missing", "Send an Idempotency-Key header.")
    if not KEY.fullmatch(key):
        detail = "An Idempotency-Key is 1-255 printable ASCII characters."
        raise Refused(400, "idempotency_key_invalid", detail)
    return key


def invalid(name: str, why: str) -> Refused:
    """The refusal of a field that is not what it must be."""
    return Refused(400, "invalid", f"`{name}`: {why}.", field=name)
