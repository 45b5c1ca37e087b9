"""The accounts of people whom the identity provider names: found by `sub`, and made at their first call.

None has a password or rights of staff, and none is an account that was registered here, whatever its name:
only the provider's own `sub` leads to it.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import accounts
from accounts.models import ExternalIdentity
from accounts.tokens import disabled_accounts, provider_tokens
from accounts.tokens.provider_tokens import Identity
from foundation.account import Account
from foundation.concurrency import event_loop
from foundation.concurrency.batching import Batcher
from foundation.normalization import normalized

MOST_REMEMBERED = 100_000
LONGEST_NAME = 150
LONGEST_ADDRESS = 254
"""The lengths of Django's columns."""
REMEMBERED_SECONDS = 60.0
"""A database that lost its last commits may give an account's number to another person."""
_known: dict[tuple[str, str], tuple[int, float]] = {}
"""Accounts by issuer and `sub`, and until when they are good, by the monotonic clock."""


async def find(raw: str) -> Account:
    """The account of the person whom the provider's token names, made if it is new.

    Costs a query once a minute in each process, and at each call while the account is disabled.
    The disabled accounts must have been refreshed. Raises `TokenInvalid`, `Unavailable`, and what
    `Batcher.submit` raises.
    """
    identity = await provider_tokens.verify(raw)
    name = identity.issuer, identity.external_id
    now = time.monotonic()
    account_id, good_until = _known.get(name, (0, now))
    # That of an erased account is another one now.
    if now >= good_until or account_id in disabled_accounts.CACHED.recent().ids:
        account_id = await event_loop.submit_to_batcher(_accounts, identity)
        if len(_known) >= MOST_REMEMBERED:
            _known.clear()
        _known[name] = account_id, now + REMEMBERED_SECONDS
    # In microseconds, as sign-outs are numbered: a token issued at this second is none of an earlier one's.
    issued_after = identity.issued_at and identity.issued_at * 1_000_000
    return Account(account_id, is_staff=False, is_external=True, issued_after=issued_after)


def forget() -> None:
    """Have the next call look its account up."""
    _known.clear()


def _find_or_make(identities: Sequence[Identity]) -> Sequence[int]:
    """The accounts of these people of one issuer, inside a transaction."""
    found = _read(identities)
    # In one order, so that two processes that make the same accounts wait for each other once.
    for identity in sorted(identities, key=lambda one: one.external_id):
        if identity.external_id not in found:
            found[identity.external_id] = _make(identity)
    return [found[one.external_id] for one in identities]


_accounts: Batcher[Identity, int] = Batcher(_find_or_make, name="external_accounts")


def _read(identities: Sequence[Identity]) -> dict[str, int]:
    names = {one.external_id for one in identities}
    rows = ExternalIdentity.objects.filter(issuer=identities[0].issuer, external_id__in=names)
    return dict(rows.values_list("external_id", "account_id"))


def _make(identity: Identity) -> int:
    """A new account of this name if that is free, or the account that another process made meanwhile."""
    if name := _wanted_name(identity.username):
        with suppress(IntegrityError):
            return _insert(identity, name)
    try:
        return _insert(identity, "")
    except IntegrityError:
        # Another process was first, and has committed: the insert waited for that.
        if account_id := _read([identity]).get(identity.external_id):
            return account_id
        raise


def _insert(identity: Identity, name: str) -> int:
    """Insert account and identity, or neither. Raises `IntegrityError` if the name or `sub` is there."""
    with transaction.atomic():
        account = User.objects.create(
            username=name or f"{accounts.EXTERNAL_PREFIX}{uuid4().hex}",
            email=_valid_email(identity.email),
            password=make_password(None),
        )
        ExternalIdentity.objects.create(
            account=account, issuer=identity.issuer, external_id=identity.external_id
        )
        if not name:
            # Unless that name is taken, from before such names were reserved: then it keeps the random one.
            with suppress(IntegrityError), transaction.atomic():
                User.objects.filter(pk=account.pk).update(username=f"{accounts.EXTERNAL_PREFIX}{account.pk}")
    return account.pk


def _wanted_name(given: str) -> str:
    """The name as an account may have it, or empty."""
    if len(given) > LONGEST_NAME:
        return ""
    name = User.normalize_username(given)
    if len(name) > LONGEST_NAME or accounts.is_reserved(name):
        return ""
    try:
        User.username_validator(name)
    except ValidationError:
        return ""
    return name


def _valid_email(given: str) -> str:
    """The address as an account may have it, or empty."""
    if len(given) > LONGEST_ADDRESS:
        return ""
    address = normalized(User.objects.normalize_email(given))
    try:
        accounts.check_email(address)
        address.encode()
    except (ValidationError, UnicodeEncodeError):
        return ""
    return address if len(address) <= LONGEST_ADDRESS else ""
