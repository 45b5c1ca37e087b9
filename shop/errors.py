"""What can go wrong, as values with names.

Each error has a stable `code`; programs branch on it, and it never changes within an API version.
`shop.http.problems` is the one place that turns them into HTTP.
"""

from typing import Any


class FirstcomeError(Exception):
    """The root of ours. `extra` are further members of the problem; `retry_after` is in seconds."""

    code = "error"
    title = "Something went wrong"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        retry_after: int | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.retry_after = retry_after
        self.extra = extra


class NotFound(FirstcomeError):
    """No such thing, or none that this account may see."""

    code = "not_found"
    title = "Not found"


class Invalid(FirstcomeError):
    """The request's content is wrong. `errors` lists `{field, code, detail}`."""

    code = "invalid"
    title = "Invalid request"


class Rejected(FirstcomeError):
    """The request is well-formed, but the state of things forbids it: the caller's to change."""

    code = "rejected"
    title = "Not possible now"


class NotAllowed(FirstcomeError):
    """This account may not do that."""

    code = "permission_denied"
    title = "Permission denied"


class NotAuthenticated(FirstcomeError):
    """No account could be told from the request's credentials."""

    code = "not_authenticated"
    title = "Not signed in"


class Throttled(FirstcomeError):
    """Too many of these from this account or address; `retry_after` says when again."""

    code = "throttled"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after: int, **extra: Any) -> None:
        super().__init__(detail, retry_after=retry_after, **extra)


class BodyIncomplete(FirstcomeError):
    """The request's body took too long, or its sender broke off; nothing was done."""

    code = "request_timeout"
    title = "Request timeout"


class PaymentDeclined(FirstcomeError):
    """The payment was refused for good. `order` or `payment` names what it was for."""

    code = "payment_declined"
    title = "Payment declined"


class PartnerFailed(FirstcomeError):
    """A partner outside refused its part, so nothing was done."""

    code = "partner_failed"
    title = "A partner refused"


class KeyReused(FirstcomeError):
    """An idempotency key came back with another request."""

    code = "idempotency_key_reused"
    title = "Idempotency key reused"


class SignatureInvalid(FirstcomeError):
    """What was sent is not signed by who should have sent it, or too long ago."""

    code = "signature_invalid"
    title = "Signature not valid"


class Unavailable(FirstcomeError):
    """It passes by itself. Nothing was done, unless the detail says that this is not known."""

    code = "unavailable"
    title = "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after: int = 1, **extra: Any) -> None:
        super().__init__(detail, retry_after=retry_after, **extra)


class Overloaded(Unavailable):
    """A bounded queue is full, or a request waited its whole time in it."""

    code = "overloaded"


def invalid_field(field: str, code: str, detail: str) -> Invalid:
    """The error of one field, in the shape that validation gives."""
    return Invalid(detail, errors=[{"field": field, "code": code, "detail": detail}])
