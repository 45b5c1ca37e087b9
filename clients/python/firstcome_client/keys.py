"""Idempotency keys that outlive a process: that of a named intent is kept until the program forgets it."""

import secrets
import time
from collections.abc import MutableMapping

from firstcome_client.errors import IntentTooOldError, ProblemError
from firstcome_client.repeating import passes

DID_NOTHING_OR_IS_RECORDED = (400, 402, 404, 409)
"""Statuses of a refusal that ends an intent. Others may hide the answer to an earlier call with its key."""
OLDEST_SECONDS = 23 * 3600
"""The shop knows a key for a day: an hour is left for the call, its repeats, and clocks that differ."""


def new_key() -> str:
    """A random `Idempotency-Key`: one for each intent, and the same for its repeats."""
    return secrets.token_urlsafe(18)


class Keys:
    """The keys of intents by their names, in a storage of the caller's. A key begins with its time."""

    def __init__(self, storage: MutableMapping[str, str]) -> None:
        self._storage = storage

    def take(self, intent: str | None, key: str | None) -> str:
        """The key of a call: the given one, that of the intent, or a new one, which is stored for it.

        Raises IntentTooOldError for a key that the shop may have forgotten.
        """
        if intent is None:
            return key or new_key()
        if key is not None:
            raise ValueError("a call has an intent, whose key is kept for it, or a key; not both")
        key = self._storage.setdefault(intent, f"{int(time.time())}.{new_key()}")
        begun_at, _, _ = key.partition(".")
        if not begun_at.isdecimal() or abs(time.time() - int(begun_at)) > OLDEST_SECONDS:
            raise IntentTooOldError(intent, key)
        return key

    def forget(self, intent: str) -> None:
        """Forget the key of an intent, if there is one."""
        self._storage.pop(intent, None)

    def refuse(self, intent: str | None, key: str, error: ProblemError) -> None:
        """Forget the key of an intent that the shop refused for good.

        Not for the refusal of another call, such as a sign-in, nor for the answer of a proxy.
        """
        is_final = error.status in DID_NOTHING_OR_IS_RECORDED and not passes(error.status, error.code)
        if intent is not None and error.code and error.idempotency_key == key and is_final:
            self.forget(intent)
