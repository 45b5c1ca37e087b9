"""The positions of events: consecutive, and as far apart in a run as its ids."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple


class Run(NamedTuple):
    """Events at consecutive ids and positions; the first id and position, and how many they are."""

    id: int
    position: int
    length: int

    @property
    def last_position(self) -> int:
        return self.position + self.length - 1


def following(last: int, lengths: Mapping[int, int]) -> dict[int, int]:
    """The positions of the first events of runs, by their ids, after the last position that was given."""
    firsts = accumulate(lengths.values(), initial=last + 1)
    return dict(zip(lengths, firsts, strict=False))


def whole_runs(found: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """The events of whole runs, each with the length 1, of the first `most` events, which have how many of
    their run are left; all of them if they are of one run.
    """
    end = len(found)
    while len(found) == most and end and found[end - 1][1] > 1:
        end -= 1
    return [(id, 1) for id, _left in found[: end or most]]
