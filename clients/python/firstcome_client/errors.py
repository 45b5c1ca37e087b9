"""What calls raise: problems that the shop answered with, answers that did not come, and waits that ended."""

from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID

import httpx

from firstcome_client.generated.models import FailureBody, FieldError

KEY = "Idempotency-Key"


class ProblemError(Exception):
    """The shop refused the call.

    `code` is the stable word to branch on; expect codes that you don't know. It is empty when the answer is
    not the shop's, such as a proxy's page. `status` is the HTTP status, `body` the whole problem, with the
    members that belong to its code. `retry_after` is in seconds, None without the header. `request_id` names
    the call in the shop's log. `idempotency_key` is the key of the call, None without one.
    """

    def __init__(
        self, status: int, body: dict[str, Any], *, retry_after: float | None, idempotency_key: str | None
    ) -> None:
        self.status = status
        self.body = body
        self.code = str(body.get("code", ""))
        self.detail = str(body.get("detail", ""))
        self.request_id = str(body.get("request_id", ""))
        self.retry_after = retry_after
        self.idempotency_key = idempotency_key
        super().__init__(f"{status} {self.code}: {self.detail}")

    @property
    def errors(self) -> list[FieldError]:
        """What is wrong with which field, of a problem with the code `invalid`."""
        return [FieldError.from_dict(error) for error in self.body.get("errors") or ()]

    @property
    def failure(self) -> FailureBody | None:
        """Why the payment failed, of a problem with the code `payment_declined`."""
        failure = self.body.get("failure")
        return FailureBody.from_dict(failure) if isinstance(failure, dict) else None

    @property
    def order(self) -> UUID | None:
        """The order that the refused payment is of, if the problem names one."""
        order = self.body.get("order")
        return UUID(order) if isinstance(order, str) else None

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """The error of an answer that is no success."""
        return cls(
            response.status_code,
            problem(response),
            retry_after=retry_after(response.headers),
            idempotency_key=response.request.headers.get(KEY),
        )


class NoAnswerError(Exception):
    """No answer came, so that the effect of the call is not known.

    Repeat a call that has an `idempotency_key` with the same key, later as well: it has one effect at most.
    """

    def __init__(self, request: httpx.Request, attempts: int) -> None:
        self.idempotency_key: str | None = request.headers.get(KEY)
        self.attempts = attempts
        super().__init__(f"no answer to {request.method} {request.url.path} in {attempts} attempts")


class IntentTooOldError(Exception):
    """The intent is so old that the shop may have forgotten its key: the call could have a second effect.

    Nothing was sent. What it was for may be done: look for it, such as in `shop.orders()`, and call
    `shop.forget(intent)` before you begin anew.
    """

    def __init__(self, intent: str, idempotency_key: str) -> None:
        self.intent = intent
        self.idempotency_key = idempotency_key
        super().__init__(
            f"the intent {intent} is too old: its order may exist, so look, then forget the intent"
        )


class NotSettledError(Exception):
    """The wait ended while it was still open; `body` is its last state. It may settle at any time.

    The same call with its intent or its `idempotency_key`, if it has one, goes on waiting; a new key would be
    a new intent.
    """

    def __init__(self, body: object, *, idempotency_key: str | None = None) -> None:
        self.body = body
        self.idempotency_key = idempotency_key
        super().__init__(f"not settled yet: {body}")


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem that the answer is, empty when it is none."""
    if response.has_redirect_location:
        return {"detail": "a redirect, which is not followed"}
    if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return {}
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of `Retry-After`, None without it or when it is a date."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None
