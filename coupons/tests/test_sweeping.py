"""The housekeeping of coupons as a whole."""

import pytest

from coupons import tasks


def test_a_sweeper_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = []

    def failing() -> int:
        raise ValueError("a campaign that can't be healed")

    def working() -> int:
        swept.append("working")
        return 3

    monkeypatch.setattr(tasks, "SWEEPERS", [working, failing, working])
    with pytest.raises(ValueError, match="a campaign that can't be healed"):
        tasks.sweep()

    assert swept == ["working", "working"]
