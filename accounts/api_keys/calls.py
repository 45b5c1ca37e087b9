"""Calls by an API key: its check, its scope, and the account that it acts for.

A key alone has the rights that its maker has now. With the header `Firstcome-Account`, and the scope `act`,
it acts for that account, as its owner could by the account's own token, and has no rights of staff.
"""

import re
import time
from typing import Any

from prometheus_client import Counter
from rest_framework.authentication import BaseAuthentication

from accounts.api_keys import key_memory
from accounts.tokens import disabled_accounts
from foundation import journal, scopes
from foundation.account import Account, TokenInvalid, UsedKey
from foundation.concurrency import event_loop
from foundation.concurrency.thread_pool import LOOKUP_POOL
from foundation.errors import FirstcomeError, NotAllowed, invalid_field
from foundation.http.messages import Request
from foundation.http.validation import LARGEST_ID
from foundation.lazy_texts import mark
from foundation.observability import logs
from foundation.rates import rate_limits

ACCOUNT_NUMBER = re.compile("[0-9]{1,19}")
CALLS = Counter(
    "firstcome_api_key_calls",
    "Calls by API keys, by the scope that they need, and whether they were accepted or why not.",
    ["scope", "outcome"],
)


class ScopeMissing(NotAllowed):
    """The key lacks a scope, which `scope` names."""

    code = "scope_missing"

    def __init__(self, scope: str) -> None:
        super().__init__(mark("This API key lacks the scope {scope}.", scope=scope), scope=scope)


class AccountRefused(NotAllowed):
    """The key's maker may not have keys act for accounts, or the account doesn't exist, or is disabled."""

    code = "account_refused"


class APIKey(BaseAuthentication):
    """`Authorization: Bearer fc_key_…`; a request without a key is left to the next class."""

    def authenticate(self, request: Any) -> tuple[Account, None] | None:
        secret = key_memory.secret_in(request.header("Authorization") or "")
        if secret is None:
            return None
        view = request.parser_context["view"]
        # A view's methods may be asked for without a scope.
        scope = None if request.method == "OPTIONS" else view.required_scopes(request.method)
        return event_loop.run_blocking(authenticate(request, secret, scope=scope)), None

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"


async def authenticate(request: Request, secret: str, *, scope: str | None) -> Account:
    """Return the caller, without a query while what this process remembers is recent and has the key.

    `scope` has what the call needs, between spaces: it is empty where no key may make it, and None where
    every key may.
    """
    try:
        caller = await _authenticate(request, secret, scope)
    except FirstcomeError as refusal:
        CALLS.labels(scope or "none", refusal.code).inc()
        raise
    CALLS.labels(scope or "none", "accepted").inc()
    return caller


async def find_key(secret: str) -> key_memory.KnownKey:
    """The usable key with this secret. Raises `TokenInvalid`."""
    await disabled_accounts.refresh(key_memory.CACHED)
    try:
        return key_memory.verify(secret)
    except TokenInvalid:
        # In a group, which holds one thread of the pool: anyone may send unknown keys.
        await event_loop.run_in_thread(
            key_memory.read_newer, time.monotonic(), group="API keys", pool=LOOKUP_POOL
        )
        return key_memory.verify(secret)


async def _authenticate(request: Request, secret: str, scope: str | None) -> Account:
    key = await find_key(secret)
    logs.note_caller("api_key", key.id)
    rate_limits.API_KEYS.count(key.id)
    key_memory.note_use(key.id)
    if scope is not None:
        _require_scope(key, scope)
    named = request.header(scopes.ACCOUNT_HEADER)
    name = f"{journal.KEY_NAME}{key.id}"
    account_id = key.maker_id if named is None else await _account_to_act_for(key, named)
    journal.identify_actor(account_id=account_id, is_staff=named is None, name=name)
    return Account(account_id, is_staff=named is None, key=UsedKey(key.id, is_acting=named is not None))


def _require_scope(key: key_memory.KnownKey, scope: str) -> None:
    if not scope:
        raise NotAllowed(mark("No API key may make this call."))
    for each in scope.split():
        if each not in key.scopes:
            raise ScopeMissing(each)


async def _account_to_act_for(key: key_memory.KnownKey, named: str) -> int:
    _require_scope(key, scopes.ACT)
    if not key.may_act:
        raise AccountRefused(mark("The account that made this API key may not have keys act for accounts."))
    if not ACCOUNT_NUMBER.fullmatch(named) or int(named) > LARGEST_ID:
        raise invalid_field(
            scopes.ACCOUNT_HEADER, "not_an_id", mark("The header must be an account's number.")
        )
    await disabled_accounts.refresh()
    account_id = int(named)
    if not await key_memory.is_usable_account(account_id):
        raise AccountRefused(
            mark("There is no account {account_id}, or it is disabled.", account_id=account_id)
        )
    return account_id
