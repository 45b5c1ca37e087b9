"""Two long readings of the same keys, side by side in bounded memory: which keys has only one of them?"""

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

# How far the readings may be out of step. Beyond it a key is told as missing though it may still come.
MOST_AHEAD = 20_000


class Abreast:
    """Claims that are read in step with what is met; both come in about the same order.

    `meet` says what was met, and reads on as many claims. A claim that isn't met for long is told, and so is
    each that is left at the end: whoever asks looks again.
    """

    def __init__(self, claims: Iterable[str]) -> None:
        self._claims = iter(claims)
        # Dictionaries, for they know which key has waited longest.
        self._unmet: dict[str, None] = {}
        self._early: dict[str, None] = {}

    def meet(self, keys: Collection[str]) -> list[str]:
        """These keys were met. Returns the claims that have waited too long."""
        for key in keys:
            _take_out_or_put_in(key, self._unmet, self._early)
        for key in islice(self._claims, len(keys)):
            _take_out_or_put_in(key, self._early, self._unmet)
        _oldest_beyond(self._early)
        return _oldest_beyond(self._unmet)

    def rest(self) -> Iterator[str]:
        """Nothing more will be met: the claims that never were."""
        yield from self._unmet
        for key in self._claims:
            if key not in self._early:
                yield key


def _take_out_or_put_in(key: str, here: dict[str, None], there: dict[str, None]) -> None:
    if key in here:
        del here[key]
    else:
        there[key] = None


def _oldest_beyond(waiting: dict[str, None]) -> list[str]:
    """Forget the oldest of too many, and return them."""
    beyond = list(islice(waiting, max(0, len(waiting) - MOST_AHEAD)))
    for key in beyond:
        del waiting[key]
    return beyond
