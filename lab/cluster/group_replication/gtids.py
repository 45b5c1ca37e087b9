"""Sets of MySQL's transactions, as `@@gtid_executed` writes them: `uuid:1-5:7,uuid:tag:1-3`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

Interval = tuple[int, int]


@dataclass(frozen=True)
class GtidSet:
    """The transactions of each source, as intervals that are sorted and don't touch."""

    intervals: dict[str, tuple[Interval, ...]]

    @classmethod
    def parse(cls, text: str) -> "GtidSet":
        """Read MySQL's notation, white space and repeated sources included. Raises ValueError."""
        found: dict[str, list[Interval]] = {}
        for entry in re.sub(r"\s", "", text).split(","):
            if entry:
                for source, interval in _intervals(entry):
                    found.setdefault(source, []).append(interval)
        return cls({source: _merge(intervals) for source, intervals in found.items()})

    def __le__(self, other: "GtidSet") -> bool:
        """Whether the other has all of these."""
        return not self - other

    def __sub__(self, other: "GtidSet") -> int:
        """How many of these the other doesn't have."""
        return sum(
            end - start + 1 - _common(start, end, other.intervals.get(source, ()))
            for source, intervals in self.intervals.items()
            for start, end in intervals
        )


def _intervals(entry: str) -> Iterator[tuple[str, Interval]]:
    source, *parts = entry.lower().split(":")
    if not parts:
        raise ValueError(f"{entry!r} is no set of transactions")
    tag = ""
    for part in parts:
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if numbers:
            yield f"{source}{tag}", (int(numbers[1]), int(numbers[2] or numbers[1]))
        elif re.fullmatch(r"[a-z_][a-z0-9_]{0,31}", part):
            tag = f":{part}"
        else:
            raise ValueError(f"{entry!r} is no set of transactions")


def _merge(intervals: list[Interval]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _common(start: int, end: int, others: tuple[Interval, ...]) -> int:
    return sum(max(0, min(end, last) - max(start, first) + 1) for first, last in others)
