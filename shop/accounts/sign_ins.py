"""Signing in by name and password: throttled, at most so many hashes at once, and noted in the journal.

Attempts are counted tightly by name and address together, and by address, but only loosely by name: ten
wrong passwords from elsewhere must not lock an account's owner out. Where so many addresses guess at a name
that even the loose window is full, those that have signed in to the account lately are still let in. For them
a part of the line before the hashes is kept, too.
"""

import threading
from datetime import timedelta

from django.contrib.auth.models import User
from prometheus_client import Counter

from shop import clock
from shop.accounts import accounts
from shop.accounts.accounts import InvalidCredentials
from shop.accounts.password_hashing import Standing
from shop.db import transactions
from shop.errors import Overloaded, Throttled
from shop.events import journal
from shop.events.journal import Actor, Who
from shop.models import JournalLine
from shop.rates import throttling
from shop.rates.throttling import Limit

OF_NAME_FROM_ADDRESS = Limit("sign-ins-of-name-from-address", times=10, seconds=60)
FROM_ADDRESS = Limit("sign-ins-from-address", times=60, seconds=60)
OF_NAME = Limit("sign-ins-of-name-from-anywhere", times=100, seconds=60)
OWN_PASSWORD = Limit("own-password-of-account", times=10, seconds=60)
# Any client may fail to sign in: past these limits a failure leaves no line, and is only counted.
NOTED_OF_NAME = Limit("failures-noted-of-name", times=20, seconds=3600)
NOTED_FROM_ADDRESS = Limit("failures-noted-from-address", times=20, seconds=3600)
NOTED_IN_ALL = Limit("failures-noted", times=600, seconds=3600)
OLD_PASSWORD_WRONG = "account.old_password_wrong"
LATELY = timedelta(days=30)
SIGNED_IN, FAILED = "account.signed_in", "account.sign_in_failed"
MOST_EARLIER_SIGN_INS = 50
SIGN_INS = Counter("firstcome_sign_ins", "Attempts to sign in, by what came of them.", ["result"])

_mutex = threading.Lock()
_unnoted = 0


def sign_in(*, username: str, password: str, address: str, is_operator: bool = False) -> User:
    """The active account of this name and password; with `is_operator` that of a member of staff.

    Durable in the journal when it returns. Raises `Throttled`, `Overloaded` and `InvalidCredentials`.
    """
    account_id, network = accounts.id_of(username), throttling.network(address)
    try:
        _throttle(_name(account_id, username), account_id, network)
        user = accounts.authenticate(
            username=username,
            password=password,
            network=network,
            standing=lambda: _standing(account_id, network),
        )
        if is_operator and not user.is_staff:
            raise InvalidCredentials
    except Throttled:
        SIGN_INS.labels("throttled").inc()
        raise
    except Overloaded:
        SIGN_INS.labels("overloaded").inc()
        raise
    except InvalidCredentials:
        SIGN_INS.labels("failed").inc()
        _note_failure(_name(account_id, username), account_id, address)
        raise
    SIGN_INS.labels("signed_in").inc()
    _note_success(user, address)
    return user


def check_own_password(*, account: User, password: str, address: str) -> None:
    """Whether the operator who is signed in knows the own password: a session that was stolen does not.

    Counted by account. Raises `Throttled`, `Overloaded` and `InvalidCredentials`.
    """
    throttling.check([(OWN_PASSWORD, accounts.subject(account.pk))])
    try:
        accounts.check_password(account, password)
    except InvalidCredentials:
        _note_failure(
            accounts.subject(account.pk), account.pk, address, what=OLD_PASSWORD_WRONG, by=journal.who()
        )
        raise


def forget() -> None:
    """Forget the failures that left no line (tests)."""
    global _unnoted
    _unnoted = 0


def _name(account_id: int | None, username: str) -> str:
    """The canonical key of a username: one for all spellings that the database takes for the same account."""
    return f"name {username.casefold()}" if account_id is None else accounts.subject(account_id)


def _throttle(name: str, account_id: int | None, network: str) -> None:
    throttling.check([(OF_NAME_FROM_ADDRESS, f"{name} from {network}"), (FROM_ADDRESS, network)])
    try:
        throttling.check([(OF_NAME, name)])
    except Throttled:
        if account_id is None or not _has_signed_in_lately(account_id, network):
            raise


def _has_signed_in_lately(account_id: int, network: str) -> bool:
    """Whether one of the account's last sign-ins in the journal came from this network."""
    lines = JournalLine.objects.filter(
        subject=accounts.subject(account_id), what=SIGNED_IN, at__gte=clock.now() - LATELY
    )
    earlier = lines.order_by("-id").values_list("after", flat=True)[:MOST_EARLIER_SIGN_INS]
    return any(throttling.network(after["address"]) == network for after in earlier if after)


def _standing(account_id: int | None, network: str) -> Standing:
    """How well the one who signs in to this account from this network is known."""
    if account_id is None or not _has_signed_in_lately(account_id, network):
        return Standing.STRANGER
    return Standing.OPERATOR if accounts.is_staff(account_id) else Standing.KNOWN


def _note_success(user: User, address: str) -> None:
    actor = Actor.STAFF if user.is_staff else Actor.ACCOUNT
    by = Who(actor, user.pk, user.get_username(), journal.who().request_id)
    _note(SIGNED_IN, accounts.subject(user.pk), by, address=address)


def _note_failure(
    name: str, account_id: int | None, address: str, *, what: str = FAILED, by: Who | None = None
) -> None:
    """Note it, or count it where there are many: the next line that is written says how many were left out.

    An unknown name is not written down, because people type their password there.
    """
    global _unnoted
    network = throttling.network(address)
    limits = [(NOTED_OF_NAME, name), (NOTED_FROM_ADDRESS, network), (NOTED_IN_ALL, "all")]
    try:
        throttling.check(limits)
    except Throttled:
        with _mutex:
            _unnoted += 1
        return
    with _mutex:
        unnoted, _unnoted = _unnoted, 0
    about = "account unknown" if account_id is None else accounts.subject(account_id)
    by = by or Who(Actor.ANON, request_id=journal.who().request_id)
    _note(what, about, by, address=address, failures_without_a_line=unnoted)


def _note(what: str, about: str, by: Who, *, address: str, **after: int) -> None:
    """The address is told in words as well, for the journal's list."""
    known = {"address": address, **after}
    transactions.run(
        lambda: journal.note(
            what=what, subject=about, after=known, detail=f"from {address}", by=by, is_internal=True
        ),
        transactions.ONCE,
    )
