"""The shop's errors.

Each has a stable `code`, on which programs branch; it never changes within an API version. Only
`foundation.http.problems` turns errors into HTTP responses.
"""

from typing import Any, TypeVar

from foundation.lazy_texts import ENGLISH, Text, render

Row = TypeVar("Row")


class FirstcomeError(Exception):
    """The base class. `extra` are further members of the problem document; `retry_after` is in seconds.

    `detail` is for people: it may be lazy, and is then in the language that is active when it is rendered.
    `str` of the error is English, for logs and for what is stored.
    """

    code = "error"
    retry_after: int | None = None

    def __init__(
        self, detail: Text, *, code: str | None = None, retry_after: int | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.retry_after = self.retry_after if retry_after is None else retry_after
        self.extra = extra

    def __str__(self) -> str:
        return str(render(self.detail, ENGLISH))


class NotFound(FirstcomeError):
    """The object doesn't exist, or this account may not see it."""

    code = "not_found"


def required(row: Row | None, detail: Text, *, code: str | None = None) -> Row:
    """The row that was looked for. Raises `NotFound` with this text for None."""
    if row is None:
        raise NotFound(detail, code=code)
    return row


class Invalid(FirstcomeError):
    """The request's content is wrong. `errors` lists `{field, code, detail}`."""

    code = "invalid"


class Rejected(FirstcomeError):
    """The request is valid, but the current state forbids it; the caller has to change something."""

    code = "rejected"


class Held(Rejected):
    """Unpaid orders hold what is requested: it is refused only once those that have lapsed are ended."""


class CursorExpired(FirstcomeError):
    """What the cursor was to be followed by is gone; `restored_at` is there if a restore took it."""

    code = "cursor_expired"


class NotAllowed(FirstcomeError):
    """This account may not do that."""

    code = "permission_denied"


class NeedsApproval(NotAllowed):
    """One operator may not do this alone; `ask` asks another operator to approve it."""

    def ask(self, reason: str) -> None:
        raise NotImplementedError


class NotAuthenticated(FirstcomeError):
    """The request's credentials identify no account."""

    code = "not_authenticated"


class Throttled(FirstcomeError):
    """Too many requests from this account or address; `retry_after` says when to retry."""

    code = "throttled"


class BodyIncomplete(FirstcomeError):
    """The request's body took too long, or the client disconnected; nothing was done."""

    code = "request_timeout"


class PaymentDeclined(FirstcomeError):
    """The payment was refused for good. The member `order` or `payment` identifies it."""

    code = "payment_declined"


class PartnerFailed(FirstcomeError):
    """A partner refused its part, so nothing was done."""

    code = "partner_failed"


class KeyReused(FirstcomeError):
    """An idempotency key was used again for a different request."""

    code = "idempotency_key_reused"


class SignatureInvalid(FirstcomeError):
    """The signature of the body doesn't match, or is too old."""

    code = "signature_invalid"


class Unavailable(FirstcomeError):
    """A temporary failure. Nothing was done, unless the detail says that this is unknown."""

    code = "unavailable"
    retry_after = 1


class Overloaded(Unavailable):
    """A bounded queue is full, or a request's wait in it timed out."""

    code = "overloaded"


def invalid_field(field: str, code: str, detail: Text) -> Invalid:
    """The error of one field, in the same shape as validation errors."""
    return Invalid(detail, errors=[{"field": field, "code": code, "detail": detail}])
