"""Making, rotating and revoking API keys.

A secret is `fc_key_…`: a prefix that may be shown, and 256 random bits, so that its SHA-256 is as safe to
keep as a slow hash. It is returned once, by the call that makes it. All changes of a key lock its row.
"""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.crypto import get_random_string

from accounts.models import ApiKey
from accounts.tokens import sign_outs
from foundation import clock, scopes
from foundation.account import TokenInvalid
from foundation.db import transactions
from foundation.errors import NotAllowed, Rejected, invalid_field, required
from foundation.lazy_texts import mark

START = "fc_key_"
"""How a secret begins; no access token does."""
ACT_FOR_ACCOUNTS = "accounts.act_apikey"
"""The permission that the maker of a key needs for the scope `act`."""
FORMER_SECRET_VALID = timedelta(hours=24)
KEYS_PER_ACCOUNT = 50
SECRETS_PER_KEY = 10
"""Valid ones at once, the current one included."""
PREFIX_LENGTH = 16
SECRET_BYTES = 32


class NewSecret(NamedTuple):
    """A key and its new secret, which is kept nowhere."""

    key: ApiKey
    secret: str


def create(
    *,
    maker_id: int,
    name: str,
    wanted_scopes: Collection[str],
    expires_at: datetime | None = None,
    reason: str = "",
) -> NewSecret:
    """Make a key with some of the maker's rights. Durable when it returns; a repeat makes another key.

    Raises `Invalid` for an `expires_at` in the past, `NotAllowed` if the maker is not active staff, or wants
    the scope `act` without the right to it, and `Rejected` (`too_many_api_keys`) if the maker has
    `KEYS_PER_ACCOUNT` that are not revoked.
    """
    prefix = START + get_random_string(PREFIX_LENGTH - len(START))
    secret = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"

    def created() -> ApiKey:
        now = clock.now()
        if expires_at is not None and expires_at <= now:
            raise invalid_field("expires_at", "in_the_past", mark("An API key can't have expired already."))
        _lock_maker(maker_id, wants_to_act=scopes.ACT in wanted_scopes)
        if unrevoked().filter(maker_id=maker_id).count() >= KEYS_PER_ACCOUNT:
            text = mark("An account has at most {limit} API keys: revoke one first.", limit=KEYS_PER_ACCOUNT)
            raise Rejected(text, code="too_many_api_keys", limit=KEYS_PER_ACCOUNT)
        key = ApiKey.objects.create(
            maker_id=maker_id,
            name=name,
            prefix=prefix,
            scopes=[scope for scope in scopes.ALL if scope in wanted_scopes],
            created_at=now,
            expires_at=expires_at,
        )
        key.secrets.create(secret_hash=hash_of(secret), is_current=True, created_at=now)
        after = {"name": name, "scopes": key.scopes, "expires_at": expires_at and expires_at.isoformat()}
        sign_outs.note_key("created", key, after=after, detail=reason)
        return key

    return NewSecret(transactions.run_or_savepoint(created, transactions.ONCE), secret)


def rotate(*, key_id: int, account_id: int, reason: str = "") -> NewSecret:
    """Give the key a new secret; the former one is valid for another 24 hours. Durable when it returns.

    Only its maker may, since the secret acts with the maker's rights: `NotAllowed` for others. Raises
    `NotFound`, and `Rejected` if the key is revoked (`api_key_revoked`), has expired (`api_key_expired`), or
    was rotated so often that `SECRETS_PER_KEY` are valid (`too_many_secrets`).
    """

    def rotated() -> NewSecret:
        key = _lock(key_id)
        now = clock.now()
        if key.maker_id != account_id:
            raise NotAllowed(
                mark("Only the account that made an API key rotates it: its secret acts for it.")
            )
        if key.revoked_at is not None:
            raise Rejected(mark("This API key is revoked."), code="api_key_revoked")
        if key.expires_at is not None and key.expires_at <= now:
            raise Rejected(mark("This API key has expired: make a new one."), code="api_key_expired")
        key.secrets.filter(valid_until__lte=now).delete()
        ends = key.secrets.order_by("valid_until").values_list("valid_until", flat=True)
        former = [end for end in ends if end]
        if len(former) >= SECRETS_PER_KEY - 1:
            most = SECRETS_PER_KEY
            seconds = int((former[0] - now).total_seconds()) + 1
            text = mark(
                "{limit} secrets of this API key are valid at once, the most there may be.", limit=most
            )
            raise Rejected(text, code="too_many_secrets", limit=most, retry_after=seconds)
        key.secrets.filter(is_current=True).update(is_current=None, valid_until=now + FORMER_SECRET_VALID)
        secret = f"{key.prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
        key.secrets.create(secret_hash=hash_of(secret), is_current=True, created_at=now)
        sign_outs.note_key("rotated", key, detail=reason)
        return NewSecret(key, secret)

    return transactions.run_or_savepoint(rotated, transactions.ONCE)


def revoke(*, key_id: int, reason: str = "") -> ApiKey:
    """Have the key refused everywhere within a second, and delete its secrets; a repeat changes nothing.
    Durable when it returns. Raises `NotFound`.
    """

    def revoked() -> ApiKey:
        key = _lock(key_id)
        if key.revoked_at is None:
            sign_outs.revoke_key(key, reason=reason)
        return key

    return transactions.run_or_savepoint(revoked, transactions.REPEATABLE)


def require_usable(key_id: int) -> None:
    """Raise `TokenInvalid` if the key was revoked or has expired since it was checked. A query."""
    key = unrevoked().filter(pk=key_id).first()
    if key is None or (key.expires_at is not None and key.expires_at <= clock.now()):
        raise TokenInvalid


def unrevoked() -> "QuerySet[ApiKey]":
    """The keys that are not revoked, expired ones too, newest first."""
    return ApiKey.objects.filter(revoked_at=None).order_by("-id")


def hash_of(secret: str) -> str:
    """The hash by which a secret is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _lock_maker(maker_id: int, *, wants_to_act: bool) -> None:
    """Lock the account, so that its keys are counted exactly."""
    maker = User.objects.select_for_update().filter(pk=maker_id, is_active=True, is_staff=True).first()
    if maker is None:
        raise NotAllowed(mark("Only staff make API keys."))
    if wants_to_act and not maker.has_perm(ACT_FOR_ACCOUNTS):
        raise NotAllowed(mark("This account may not have API keys act for accounts."))


def _lock(key_id: int) -> ApiKey:
    found = ApiKey.objects.select_for_update().filter(pk=key_id).first()
    return required(found, mark("There is no API key {key_id}.", key_id=key_id))
