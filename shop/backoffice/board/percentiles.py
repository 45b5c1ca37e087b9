"""Percentiles of a histogram with cumulative buckets, as Prometheus' `histogram_quantile` estimates them."""

from collections.abc import Mapping


def percentile(buckets: Mapping[float, int], share: float) -> float | None:
    """The value that this share of the observations doesn't exceed; None without observations.

    `buckets` has the number of observations up to each bound, infinity among them. Inside a bucket they are
    taken to be spread evenly; past the last finite bound, that bound is returned.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0
    if not total:
        return None
    wanted, lower, below = share * total, 0.0, 0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if bound == float("inf"):
                return lower
            inside = buckets[bound] - below
            return lower + (bound - lower) * (wanted - below) / inside if inside else bound
        lower, below = bound, buckets[bound]
    return lower
