"""Guesses of coupon codes: which orders' codes are counted, and which are refused past the limits."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from coupons import redemption, selectors as coupon_selectors
from foundation.concurrency.event_loop import run_in_thread
from foundation.concurrency.thread_pool import LOOKUP_POOL
from foundation.errors import Rejected, Throttled
from foundation.rates import rate_limits, throttling
from foundation.values import Values

_in_progress: set[tuple[int, str]] = set()
"""Accounts and the codes for which orders of theirs hold places."""


@asynccontextmanager
async def counting(account_id: int, address: str, code: str) -> AsyncIterator[None]:
    """Around an order that names a coupon's code: counts it if there is no such coupon for the account.

    Each different code counts once, for the account and for the network of `address` unless that is empty;
    one that opens within a day doesn't. Raises `Throttled` before the block, whatever the code, but for those
    of the account's own coupons: when the account has named too many wrong ones lately, or has named some and
    its network too many. It is also raised in the place of a refusal past a limit, by all processes' counts.
    """
    network = _network_key(address)
    named = (account_id, code)
    with ExitStack() as place:
        try:
            # Until it is known whether the code is wrong: of guesses at once a right one would go through.
            if named not in _in_progress:
                place.enter_context(rate_limits.WRONG_CODES.counting(account_id)).counts_itself = True
                place.callback(_in_progress.discard, named)
                _in_progress.add(named)
            if network is not None and rate_limits.WRONG_CODES.has_calls(account_id):
                rate_limits.WRONG_CODES_OF_NETWORK.require_capacity(network)
        except Throttled:
            if not await run_in_thread(coupon_selectors.has_coupon, account_id, code, **_threads(account_id)):
                raise
        try:
            yield
        except Rejected as refusal:
            is_wrong = refusal.code == "coupon_not_usable" and refusal.extra["reason"] == "not_found"
            if is_wrong and not isinstance(refusal, redemption.OpensSoon):
                await run_in_thread(_count, account_id, network, code, **_threads(account_id))
            raise


def _threads(account_id: int) -> Values:
    """Half of the threads of look-ups at most, which campaigns and keys need too, and one of an account."""
    return {"pool": LOOKUP_POOL, "group": "wrong codes", "member": account_id}


def _network_key(address: str) -> int | None:
    if not address:
        return None
    network = throttling.network_of_address(address, ipv4_bits=24)
    return int.from_bytes(hashlib.sha256(network.encode()).digest()[:6])


def _count(account_id: int, network: int | None, code: str) -> None:
    named = f"{account_id} {hashlib.sha256(code.encode()).hexdigest()}"
    if rate_limits.WRONG_CODES.tally(named) > 1:
        return
    has_guessed = rate_limits.WRONG_CODES.has_calls(account_id)
    has_guessed |= rate_limits.WRONG_CODES.count_now(account_id) > 1
    if network is None:
        return
    try:
        rate_limits.WRONG_CODES_OF_NETWORK.count_now(network)
    except Throttled:
        if has_guessed:
            raise
