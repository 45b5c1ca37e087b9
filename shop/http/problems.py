"""Errors as `application/problem+json` (RFC 9457): the only place where errors become HTTP."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import Error as DatabaseFailure
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from structlog import get_logger

from shop import errors
from shop.db import transactions
from shop.http import json_format
from shop.http.messages import PROBLEM, Response

log = get_logger(__name__)

STATUS_BY_ERROR: dict[type[errors.FirstcomeError], int] = {
    errors.NotFound: 404,
    errors.Invalid: 400,
    errors.Rejected: 409,
    errors.NotAllowed: 403,
    errors.NotAuthenticated: 401,
    errors.Throttled: 429,
    errors.BodyIncomplete: 408,
    errors.PaymentDeclined: 402,
    errors.KeyReused: 422,
    errors.SignatureInvalid: 400,
    errors.PartnerFailed: 502,
    errors.Unavailable: 503,
}
TITLES = {
    "invalid": "Invalid request",
    "malformed_json": "Malformed JSON",
    "not_authenticated": "Not signed in",
    "token_invalid": "Token not valid",
    "permission_denied": "Permission denied",
    "not_found": "Not found",
    "method_not_allowed": "Method not allowed",
    "too_large": "Too large",
    "unsupported_media_type": "Unsupported media type",
    "throttled": "Too many requests",
    "internal_error": "Internal error",
}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    title: str = "",
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> Response:
    """A problem as a response. Its `type` is a URN that names the code, instead of `about:blank`."""
    body = {
        "type": f"urn:firstcome:problem:{code}",
        "title": title or TITLES.get(code, code.replace("_", " ").capitalize()),
        "status": status,
        "detail": detail,
        "code": code,
        **extra,
    }
    response = Response.from_json(json_format.dump(body), status, PROBLEM, headers)
    response.code = code
    return response


def from_error(error: Exception) -> Response:
    """The problem response of an error; an unexpected error is logged and becomes a 500."""
    match error:
        case errors.FirstcomeError():
            return _from_own_error(error)
        case exceptions.APIException():
            return _from_rest_framework_error(error)
        case Http404():
            return problem(404, "not_found", "There is nothing at this address.")
        case PermissionDenied():
            return problem(403, "permission_denied", "This account may not do that.")
        case RequestDataTooBig():
            return _from_rest_framework_error(json_format.TooLarge())
        case SuspiciousOperation():
            return problem(400, "invalid", "The request can't be understood.")
        case DatabaseFailure() if transactions.is_lost(error) or transactions.is_conflict(error):
            return _from_own_error(errors.Unavailable("The database can't be reached; ask again."))
    log.error("unexpected error", exc_info=error)
    return problem(500, "internal_error", "Something went wrong here. It has been logged.")


def from_call_error(error: Exception, method: str, allowed: Sequence[str]) -> Response:
    """The problem response of a call. A method that doesn't exist is 405 even without authentication."""
    if isinstance(error, exceptions.NotAuthenticated) and method not in allowed:
        error = exceptions.MethodNotAllowed(method)
    response = from_error(error)
    if response.status_code == 405:
        response.headers["Allow"] = ", ".join(allowed)
    return response


def rest_framework_exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """REST framework's exception handler, for its own pages."""
    return from_call_error(error, context["request"].method, context["view"].allowed_methods).to_django()


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return problem(404, "not_found", "There is nothing at this address.").to_django()


def server_error(request: HttpRequest) -> HttpResponse:
    """For errors outside REST framework; Django is still handling the error, and has logged it."""
    error = sys.exception()
    if isinstance(error, DatabaseFailure) and transactions.is_lost(error):
        return from_error(error).to_django()
    return problem(500, "internal_error", "Something went wrong here. It has been logged.").to_django()


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return problem(400, "invalid", "The request can't be understood.").to_django()


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return problem(403, "permission_denied", "This account may not do that.").to_django()


def _from_own_error(error: errors.FirstcomeError) -> Response:
    status = next(status for kind, status in STATUS_BY_ERROR.items() if isinstance(error, kind))
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(
        status,
        error.code,
        error.detail,
        title=TITLES.get(error.code, error.title),
        headers=headers,
        **error.extra,
    )


def _from_rest_framework_error(error: exceptions.APIException) -> Response:
    code = {
        "authentication_failed": "token_invalid",
        "parse_error": "malformed_json",
    }.get(str(error.default_code), str(error.default_code))
    headers = {"WWW-Authenticate": "Bearer"} if error.status_code == 401 else {}
    return problem(error.status_code, code, str(error.detail), headers=headers)
