"""How fast a campaign issued its coupons: how many in each interval since it opened.

Positions grow with the instants of issue, so the number of coupons before an instant is found by bisection in
the index of campaign and position: some twenty statements of a few rows each, however many coupons there are.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from coupons.models import Campaign, Coupon

MOST_INTERVALS = 120
LENGTHS = [
    timedelta(seconds=1),
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
    timedelta(days=7),
    timedelta(days=30),
]


@dataclass(frozen=True, slots=True)
class IssueCurve:
    """The coupons of each interval of this length, the first of which begins at `begins_at`."""

    begins_at: datetime
    length: timedelta
    counts: list[int]

    @property
    def ends_at(self) -> datetime:
        return self.begins_at + self.length * len(self.counts)


def read(campaign: Campaign) -> IssueCurve | None:
    """The curve from the opening, or the first coupon if that is earlier, to the last coupon; None without
    coupons that have positions.
    """
    first, last = _issued_at(campaign, [1]).get(1), _issued_at(campaign, [campaign.issued])
    if first is None or campaign.issued not in last:
        return None
    begins_at, ended_at = min(first, campaign.opens_at), last[campaign.issued]
    length = _length(ended_at - begins_at)
    intervals = (ended_at - begins_at) // length + 1
    borders = [begins_at + length * number for number in range(1, intervals)]
    issued = [0, *_issued_before(campaign, borders), campaign.issued]
    counts = [after - before for before, after in itertools.pairwise(issued)]
    return IssueCurve(begins_at, length, counts)


def _length(span: timedelta) -> timedelta:
    """The shortest length with which the span has no more than `MOST_INTERVALS` intervals."""
    fitting = (length for length in LENGTHS if span // length < MOST_INTERVALS)
    return next(fitting, span // MOST_INTERVALS + timedelta(seconds=1))


def _issued_before(campaign: Campaign, borders: Sequence[datetime]) -> list[int]:
    """How many coupons were issued before each of these instants, which ascend."""
    low, high = [0] * len(borders), [campaign.issued] * len(borders)
    while open_ones := [place for place in range(len(borders)) if low[place] < high[place]]:
        middles = {place: (low[place] + high[place] + 1) // 2 for place in open_ones}
        instants = _issued_at(campaign, set(middles.values()))
        for place, middle in middles.items():
            # A position that is not there yet belongs to a transaction in progress: it is later.
            instant = instants.get(middle)
            if instant is not None and instant < borders[place]:
                low[place] = middle
            else:
                high[place] = middle - 1
    return low


def _issued_at(campaign: Campaign, positions: "set[int] | list[int]") -> dict[int | None, datetime]:
    placed = Coupon.objects.filter(campaign=campaign, position__in=positions)
    return dict(placed.values_list("position", "issued_at"))
