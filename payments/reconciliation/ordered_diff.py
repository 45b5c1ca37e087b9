"""Two long readings of the same keys, side by side in bounded memory: which keys has only one of them?"""

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

# How far the readings may be out of step. Beyond it a key is told as missing though it may still come.
MAX_AHEAD = 20_000


class OrderedDiff:
    """Claims that are read in step with what is met; both come in about the same order.

    `merge_next` says what was met, and reads on as many claims. A claim that isn't met for long is told, and
    so is each that is left at the end: whoever asks looks again.
    """

    def __init__(self, claims: Iterable[str]) -> None:
        self._claims = iter(claims)
        # Dictionaries, for they know which key has waited longest.
        self._unmet: dict[str, None] = {}
        self._early: dict[str, None] = {}

    def merge_next(self, keys: Collection[str]) -> list[str]:
        """These keys were met. Returns the claims that have waited too long."""
        for key in keys:
            _match_or_keep(key, self._unmet, self._early)
        for key in islice(self._claims, len(keys)):
            _match_or_keep(key, self._early, self._unmet)
        _drop_oldest(self._early)
        return _drop_oldest(self._unmet)

    def remaining(self) -> Iterator[str]:
        """Nothing more will be met: the claims that never were."""
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
    """Forget the oldest of too many, and return them."""
    beyond = list(islice(waiting, max(0, len(waiting) - MAX_AHEAD)))
    for key in beyond:
        del waiting[key]
    return beyond
