"""The card tokens that the gateway answers to, and what each makes it do."""

from dataclasses import dataclass

from scripts.simulators.process import Refused

EVERY_ATTEMPT = float("inf")

FAILURES = {
    "card_declined": "The card was declined.",
    "insufficient_funds": "The card has insufficient funds.",
    "authentication_failed": "The card's owner refused the payment.",
    "authentication_expired": "The card's owner did not confirm the payment in time.",
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What happens to a charge of this card; by default it is charged and answered at once.

    failure: the code of its final refusal.
    failed_attempts, failed_refunds: so many first attempts with a key end in an HTTP 500 and do nothing.
    seconds: how long charging takes.
    is_charged, is_answered: False where the charge never happens, and where its reply never comes.
    is_awaited: False where the reply doesn't wait for those seconds; a webhook announces the end.
    is_confirmed: True where the card's owner must confirm the charge on the gateway's page.
    """

    failure: str | None = None
    failed_attempts: float = 0
    failed_refunds: int = 0
    seconds: float = 0
    is_charged: bool = True
    is_answered: bool = True
    is_awaited: bool = True
    is_confirmed: bool = False


CARDS = {
    "tok_ok": Card(),
    "tok_declined": Card(failure="card_declined"),
    "tok_insufficient_funds": Card(failure="insufficient_funds"),
    "tok_error": Card(failed_attempts=EVERY_ATTEMPT),
    "tok_flaky": Card(failed_attempts=2),
    "tok_slow": Card(seconds=2),
    "tok_timeout_charged": Card(is_answered=False),
    "tok_timeout_lost": Card(is_charged=False, is_answered=False),
    "tok_refund_fails": Card(failed_refunds=2),
    "tok_webhook": Card(seconds=2, is_awaited=False),
    "tok_3ds": Card(is_awaited=False, is_confirmed=True),
}


def card(token: str) -> Card:
    """The card of the token. Raises Refused for an unknown token."""
    if token not in CARDS:
        detail = f"No card has this token. There is {', '.join(CARDS)}."
        raise Refused(400, "unknown_token", detail, field="token")
    return CARDS[token]
