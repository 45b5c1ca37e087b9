"""Responses to requests that the server refuses before the application sees them, in each language."""

from collections.abc import Callable, Iterable
from http import HTTPStatus

from django.conf import settings

from shop.errors import BodyIncomplete, FirstcomeError, Overloaded, Unavailable
from shop.http import languages, problems
from shop.http.messages import Response
from shop.lazy_texts import ENGLISH, Text, mark as _

LANGUAGES = [code for code, _name in settings.LANGUAGES]


class Refusal(bytes):
    """A problem response in the bytes that are sent, with its status and its code."""

    status: int
    code: str


ByLanguage = dict[str, Refusal]


def in_language(refusals: ByLanguage, headers: Iterable[tuple[bytes, bytes]] | None) -> Refusal:
    """The refusal in the language that these headers prefer: those of the request that have arrived."""
    return refusals[languages.of_headers(headers or ())]


def _in_each(render: Callable[[str], Response]) -> ByLanguage:
    return {language: _raw_response(render(language)) for language in LANGUAGES}


def _problem(status: int, code: str, detail: Text) -> ByLanguage:
    return _in_each(lambda language: problems.problem(status, code, detail, language=language))


def _error(error: FirstcomeError) -> ByLanguage:
    return _in_each(lambda language: problems.from_error(error, language))


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


INVALID = _problem(400, "invalid", problems.NOT_UNDERSTOOD)
LATE = _error(BodyIncomplete(_("The request's head did not arrive in time; nothing was done.")))
LONG_TARGET = _problem(414, "too_large", _("The request's target is longer than 8 KiB."))
LARGE_HEAD = _problem(431, "too_large", _("The request has more than 16 KiB or 128 headers."))
# Nothing of the request has been read.
CROWDED = _error(Overloaded(_("Too many connections are open; nothing was done. Try again.")))[ENGLISH]


def failed(headers: Iterable[tuple[bytes, bytes]]) -> Response:
    language = languages.of_headers(headers)
    return problems.problem(500, "internal_error", problems.INTERNAL_ERROR, language=language)


def stopped(headers: Iterable[tuple[bytes, bytes]]) -> Response:
    # Not `Overloaded`, which means that nothing was done.
    error = Unavailable(_("The server is stopping; the result of the request is not known. Try again."))
    return problems.from_error(error, languages.of_headers(headers))
