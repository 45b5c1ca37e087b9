"""Errors as `application/problem+json` (RFC 9457): the only place where errors become HTTP."""

import math
import re
import sys
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import Error as DatabaseFailure, IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import translation
from rest_framework import exceptions
from structlog import get_logger

from foundation import errors
from foundation.account import TokenInvalid
from foundation.db import transactions
from foundation.db.mysql.patience import is_statement_ended
from foundation.http import json_format, preferences
from foundation.http.messages import PROBLEM, JSONResponse
from foundation.http.views import API_PREFIX
from foundation.lazy_texts import ENGLISH, Text, mark
from foundation.observability import logs

log = get_logger(__name__)

STATUS_AND_TITLE: dict[type[errors.FirstcomeError], tuple[int, str]] = {
    errors.NotFound: (404, "Not found"),
    errors.Invalid: (400, "Invalid request"),
    errors.Rejected: (409, "Not possible now"),
    errors.CursorExpired: (410, "Gone"),
    errors.NotAllowed: (403, "Permission denied"),
    errors.NotAuthenticated: (401, "Not signed in"),
    errors.Throttled: (429, "Too many requests"),
    errors.BodyIncomplete: (408, "Request timeout"),
    errors.PaymentDeclined: (402, "Payment declined"),
    errors.KeyReused: (422, "Idempotency key reused"),
    errors.SignatureInvalid: (400, "Signature not valid"),
    errors.PartnerFailed: (502, "A partner refused"),
    json_format.MalformedJSON: (400, "Malformed JSON"),
    json_format.TooLarge: (413, "Too large"),
    json_format.UnsupportedMediaType: (415, "Unsupported media type"),
    errors.Unavailable: (503, "Temporarily unavailable"),
}
TITLES = {
    "account_refused": "Account refused",
    "invalid": "Invalid request",
    "invalid_credentials": "Wrong name or password",
    "malformed_json": "Malformed JSON",
    "not_authenticated": "Not signed in",
    "otp_invalid": "Wrong one-time code",
    "otp_required": "One-time code required",
    "scope_missing": "Scope missing",
    "throttled": "Too many requests",
    "token_invalid": "Token not valid",
}
"""Of codes whose title is neither that of their kind of error nor the code in words."""
INTERNAL_ERROR = mark("Something went wrong here. It has been logged.")
NO_REFERENCED_ROW = 1452
NO_CREDENTIALS = mark("Authentication credentials were not provided.")
NOT_FOUND = mark("There is nothing at this address.")
PERMISSION = re.compile(r"[a-z]+\.[a-z_]+")
NOT_ALLOWED = mark("This account may not do that.")
NOT_UNDERSTOOD = mark("The request can't be understood.")


def problem(
    status: int,
    code: str,
    detail: Text,
    *,
    title: str = "",
    headers: Mapping[str, str] | None = None,
    language: str | None = None,
    **extra: Any,
) -> JSONResponse:
    """A problem as a response. Its `type` is a URN that names the code, instead of `about:blank`.

    Lazy texts in it are rendered in `language`; without one in the active language, that of a page.
    """
    language = language or translation.get_language() or ENGLISH
    body = {
        "type": f"urn:firstcome:problem:{code}",
        "title": title or TITLES.get(code, code.replace("_", " ").capitalize()),
        "status": status,
        "detail": detail,
        "code": code,
        **extra,
    }
    response = JSONResponse.from_json(json_format.dump(body, language), status, PROBLEM, headers)
    response.headers["Content-Language"] = language
    response.headers["Vary"] = "Accept-Language"
    response.code = code
    return response


def from_error(error: Exception, language: str | None = None) -> JSONResponse:
    """The problem response of an error; an unexpected error is logged and becomes a 500.

    Without `language` it is in the active language, that of a page.
    """
    if expected := from_expected(error, language):
        return expected
    log.error("unexpected error", exc_info=error)
    return problem(500, "internal_error", INTERNAL_ERROR, language=language)


def before_a_lane(error: Exception, fields: Mapping[bytes, bytes]) -> JSONResponse:
    """The problem of a request that no lane answers, with the id and in the language that its headers say."""
    name = logs.choose_request_id(fields.get(b"x-request-id", b"").decode("latin-1"))
    with logs.bound_request(name):
        response = from_error(
            error, preferences.choose_language(fields.get(b"accept-language", b"").decode("latin-1"))
        )
    response.name_request(name)
    return response


def from_expected(error: Exception, language: str | None = None) -> JSONResponse | None:
    """The problem response of an error that says what is wrong with a call; None for any other."""
    if own := _to_own_error(error):
        return _from_own_error(own, language)
    if not isinstance(error, exceptions.APIException):
        return None
    wait = getattr(error, "wait", None)
    headers = {} if wait is None else {"Retry-After": str(math.ceil(wait))}
    return problem(
        error.status_code, error.default_code, str(error.detail), headers=headers, language=language
    )


def _to_own_error(error: Exception) -> errors.FirstcomeError | None:
    """The shop's error of the same meaning; None for others."""
    match error:
        case errors.FirstcomeError():
            return error
        case Http404():
            return errors.NotFound(NOT_FOUND)
        case PermissionDenied():
            return errors.NotAllowed(NOT_ALLOWED)
        case RequestDataTooBig():
            return json_format.TooLarge()
        case SuspiciousOperation():
            return errors.Invalid(NOT_UNDERSTOOD)
        case DatabaseFailure() if is_statement_ended(error):
            return errors.Unavailable(mark("This took too long, and nothing was done; ask for less."))
        case DatabaseFailure() if transactions.is_unavailable(error):
            return errors.Unavailable(mark("The database can't be reached; ask again."))
        case IntegrityError() if error.args[:1] == (NO_REFERENCED_ROW,) and "REFERENCES `auth_user`" in str(
            error
        ):
            # The row's account is not there: a restore has lost it, not its token.
            return TokenInvalid()
        case exceptions.NotAuthenticated():
            return errors.NotAuthenticated(NO_CREDENTIALS)
        case exceptions.AuthenticationFailed():
            return errors.NotAuthenticated(str(error.detail))
    return None


def is_for_people(request: HttpRequest) -> bool:
    """Whether a browser asks for a page: programs, and scripts of pages, name another type, or any."""
    is_call = request.path_info.startswith(API_PREFIX)
    return not is_call and "text/html" in request.headers.get("Accept", "")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return problem(404, "not_found", NOT_FOUND).to_django()


def server_error(request: HttpRequest) -> HttpResponse:
    """For errors outside REST framework; Django is still handling the error, and has logged it."""
    error = sys.exception()
    if isinstance(error, DatabaseFailure) and transactions.is_unavailable(error):
        return from_error(error).to_django()
    return problem(500, "internal_error", INTERNAL_ERROR).to_django()


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return problem(400, "invalid", NOT_UNDERSTOOD).to_django()


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if not (missing := missing_permissions(exception)):
        return problem(403, "permission_denied", NOT_ALLOWED).to_django()
    text = mark("This account may not do that: it needs {permissions}.", permissions=", ".join(missing))
    return problem(403, "permission_denied", text).to_django()


def missing_permissions(exception: Exception | None) -> list[str]:
    """The arguments of Django's `PermissionDenied` that name permissions: others are no text for clients."""
    return [one for one in getattr(exception, "args", ()) if PERMISSION.fullmatch(str(one))]


def _from_own_error(error: errors.FirstcomeError, language: str | None) -> JSONResponse:
    status, title = next(STATUS_AND_TITLE[kind] for kind in type(error).__mro__ if kind in STATUS_AND_TITLE)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(
        status,
        error.code,
        error.detail,
        title=TITLES.get(error.code, title),
        headers=headers,
        language=language,
        **error.extra,
    )
