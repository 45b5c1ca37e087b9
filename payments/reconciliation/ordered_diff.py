"""The difference of two long sequences of keys in about the same order, in bounded memory."""

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

# How far the sequences may be out of step. Beyond it a key is reported as missing though it may still come.
MAX_AHEAD = 20_000


class OrderedDiff:
    """Matches expected keys (claims) with the keys that are found; both come in about the same order.

    `merge_next` takes found keys, and reads as many claims. A claim that stays unmatched for long is
    returned, and so is each that is left at the end; the caller checks these again.
    """

    def __init__(self, claims: Iterable[str]) -> None:
        self._claims = iter(claims)
        # Dictionaries, because they keep the order in which the keys came.
        self._unmet: dict[str, None] = {}
        self._early: dict[str, None] = {}

    def merge_next(self, keys: Collection[str]) -> list[str]:
        """Match these found keys. Returns the claims that stayed unmatched for too long."""
        for key in keys:
            _match_or_keep(key, self._unmet, self._early)
        for key in islice(self._claims, len(keys)):
            _match_or_keep(key, self._early, self._unmet)
        _drop_oldest(self._early)
        return _drop_oldest(self._unmet)

    def remaining(self) -> Iterator[str]:
        """The claims that were never matched, after the last found key."""
        yield from self._unmet
        for key in self._claims:
            if key not in self._early:
                yield key


def _match_or_keep(key: str, here: dict[str, None], there: dict[str, None]) -> None:
    if key in here:
        del here[key]
    else:
        there[key] = None


def _drop_oldest(waiting: dict[str, None]) -> list[str]:
    """Remove the oldest keys beyond `MAX_AHEAD`, and return them."""
    beyond = list(islice(waiting, max(0, len(waiting) - MAX_AHEAD)))
    for key in beyond:
        del waiting[key]
    return beyond
