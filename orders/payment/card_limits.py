"""Limits the cards that an account, and an API key, may try: past so many declines no payment is started."""

from collections.abc import Mapping
from typing import NamedTuple

OF_ACCOUNT = "declines"
OF_KEY = "declines-per-key"


class Payer(NamedTuple):
    """The account whose card is charged, and the API key by which, if any."""

    account_id: int
    key_id: int | None = None


Counts = dict[tuple[str, int], int]
"""How many payments count, with those of this transaction, by the limit and the account's or key's id."""


def limits_of(payer: Payer | None) -> list[tuple[str, int]]:
    """The payer's limits, the key's first, each with the id by which it counts."""
    if payer is None:
        return []
    of_account = (OF_ACCOUNT, payer.account_id)
    return [of_account] if payer.key_id is None else [(OF_KEY, payer.key_id), of_account]


def reached(counts: Counts, payer: Payer, most: Mapping[str, int]) -> tuple[str, int] | None:
    """The limit, with the id by which it counts, that one more card of the payer could exceed; limits that
    are not in `most` don't apply.
    """
    for pair in limits_of(payer):
        name, _ = pair
        if name in most and counts.get(pair, 0) >= most[name]:
            return pair
    return None


def add(counts: Counts, payer: Payer | None) -> None:
    """Add a payment that this transaction starts, for the payer's later ones in it."""
    for pair in limits_of(payer):
        counts[pair] = counts.get(pair, 0) + 1
