"""The identity provider's public keys (RFC 7517): fetched beside the calls, and kept while it is away."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import orjson
from django.conf import settings
from jwt import PyJWK, PyJWTError
from structlog import get_logger

from foundation.concurrency import event_loop
from foundation.errors import Unavailable
from foundation.lazy_texts import mark
from foundation.outbound import http_client
from foundation.repeated_work import start_once

log = get_logger(__name__)
KEPT_SECONDS = 3_600.0
"""After which the keys are fetched again: a key that the provider has withdrawn is accepted until then."""
PAUSE_SECONDS = 10.0
"""Between two fetches: anyone may send a token that names a key which nobody has."""
FIRST_PAUSE_SECONDS = 1.0
"""While no fetch has succeeded yet."""
FETCH_SECONDS = 3.0
LARGEST_SET_BYTES = 256 * 1024
SHORTEST_RSA_BITS = 2_048
"""The least that RFC 7518 allows."""
ALGORITHMS: dict[tuple[Any, Any], str] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
"""The one algorithm of each type and curve of key: a token chooses none, and no key is a shared secret."""


class KeysUnknown(Unavailable):
    """The provider was asked for this key, and has not answered."""


class ProviderKeys:
    """The provider's keys, by their ids; one without an id verifies tokens that name none."""

    def __init__(self) -> None:
        self._keys: Mapping[str | None, PyJWK] | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching: Future[None] | None = None
        self._mutex = threading.Lock()

    async def find(self, key_id: str | None) -> PyJWK | None:
        """The key with this id, None if the provider has none. Raises `KeysUnknown`.

        Old keys are used while they are fetched again. Only a call with an unknown key waits for the fetch.
        """
        is_unknown = self._keys is None or key_id not in self._keys
        now = time.monotonic()
        if is_unknown or now - self._fetched_at >= KEPT_SECONDS:
            with self._mutex:
                pause_seconds = FIRST_PAUSE_SECONDS if self._keys is None else PAUSE_SECONDS
                if now - self._tried_at >= pause_seconds:
                    self._tried_at = now
                    self._fetching = start_once("identity provider's keys", self._fetch)
        if is_unknown and self._fetching is not None:
            await event_loop.wait_for_end(self._fetching, FETCH_SECONDS + 1)
        key = self._keys.get(key_id) if self._keys else None
        if key is None and self._tried_at > self._fetched_at:
            raise KeysUnknown(mark("The identity provider can't be reached; nothing was done."))
        return key

    def forget(self) -> None:
        """Have the next call fetch, as the first one of a process does."""
        self.__init__()  # type: ignore[misc]

    def _fetch(self) -> None:
        began_at = time.monotonic()
        try:
            reply = http_client.send_request(
                "GET",
                settings.IDENTITY_JWKS_URL,
                headers={"Accept": "application/json"},
                body=None,
                seconds=FETCH_SECONDS,
                most_bytes=LARGEST_SET_BYTES,
            )
            if reply.status != 200:
                raise ValueError(f"the status is {reply.status}")
            found = usable_keys(orjson.loads(reply.body))
            if not found:
                raise ValueError("it has no key of a kind that is accepted")
        except (http_client.NoResponse, http_client.ResponseTooLarge, ValueError, TypeError) as error:
            log.warning("the identity provider's keys were not read", error=error)
            return
        self._keys = found
        self._fetched_at = began_at


def usable_keys(document: Any) -> dict[str | None, PyJWK]:
    """The keys of the set that verify signatures by an algorithm that is accepted, each with that one alone;
    others are left out.

    Raises `ValueError` if it is not a set of keys.
    """
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("it is not a set of keys")
    found = {}
    for members in document["keys"]:
        key = _usable_key(members)
        if key is not None:
            found[members.get("kid")] = key
    return found


def _usable_key(members: Any) -> PyJWK | None:
    if not isinstance(members, dict) or members.get("use", "sig") != "sig":
        return None
    names = [members.get(name) for name in ("kid", "kty", "crv")]
    if any(not isinstance(name, str | None) for name in names):
        return None
    _, key_type, curve = names
    algorithm = ALGORITHMS.get((key_type, curve))
    if algorithm is None or members.get("alg", algorithm) != algorithm:
        return None
    try:
        # Of a private key the public part alone.
        key = PyJWK({name: value for name, value in members.items() if name != "d"}, algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None
    if key_type == "RSA" and key.key.key_size < SHORTEST_RSA_BITS:
        return None
    return key


KEYS = ProviderKeys()
