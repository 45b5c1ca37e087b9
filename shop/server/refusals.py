"""Responses to requests that the server refuses before the application sees them."""

from http import HTTPStatus

from shop.errors import BodyIncomplete, Overloaded, Unavailable
from shop.http import problems
from shop.http.messages import Response


class Refusal(bytes):
    """A problem response in the bytes that are sent, with its status and its code."""

    status: int
    code: str


def _raw_response(response: Response) -> Refusal:
    status = HTTPStatus(response.status_code)
    headers = {
        **response.headers,
        "Content-Length": str(len(response.body)),
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name.lower()}: {value}" for name, value in headers.items()]
    refusal = Refusal("\r\n".join([*lines, "", ""]).encode("latin-1") + response.body)
    refusal.status, refusal.code = response.status_code, response.code
    return refusal


INVALID = _raw_response(
    problems.problem(400, "invalid", "The request can't be understood.", title="Invalid request")
)
LATE = _raw_response(
    problems.from_error(BodyIncomplete("The request's head did not arrive in time; nothing was done."))
)
LONG_TARGET = _raw_response(problems.problem(414, "too_large", "The request's target is longer than 8 KiB."))
LARGE_HEAD = _raw_response(
    problems.problem(431, "too_large", "The request has more than 16 KiB or 128 headers.")
)
CROWDED = _raw_response(
    problems.from_error(Overloaded("Too many connections are open; nothing was done. Try again."))
)
FAILED = problems.problem(500, "internal_error", "Something went wrong here. It has been logged.")
# Not `Overloaded`, which means that nothing was done.
STOPPED = problems.from_error(
    Unavailable("The server is stopping; the result of the request is not known. Try again.")
)
