"""Idempotency keys that outlive a process: that of a named intent is kept until it is known how it ended."""

import secrets
from collections.abc import MutableMapping
from contextlib import suppress

from firstcome_client.errors import ProblemError
from firstcome_client.repeating import passes

DID_NOTHING_OR_IS_RECORDED = (400, 402, 404, 409)
"""Statuses of a refusal that ends an intent. Others may hide the answer to an earlier call with its key."""


def new_key() -> str:
    """A random `Idempotency-Key`: one for each intent, and the same for its repeats."""
    return secrets.token_urlsafe(18)


class Keys:
    """The keys of intents by their names, in a storage of the caller's."""

    def __init__(self, storage: MutableMapping[str, str]) -> None:
        self._storage = storage

    def take(self, intent: str | None, key: str | None) -> str:
        """The key of a call: the given one, that of the intent, or a new one, which is stored for it."""
        if intent is None:
            return key or new_key()
        if key is not None:
            raise ValueError("a call has an intent, whose key is kept for it, or a key; not both")
        return self._storage.setdefault(intent, new_key())

    def end(self, intent: str | None) -> None:
        """Forget the key of an intent whose answer is final."""
        if intent is not None:
            with suppress(KeyError):
                del self._storage[intent]

    def refuse(self, intent: str | None, error: ProblemError) -> None:
        """Forget the key of an intent whose refusal is final."""
        if error.status in DID_NOTHING_OR_IS_RECORDED and not passes(error.status, error.code):
            self.end(intent)
