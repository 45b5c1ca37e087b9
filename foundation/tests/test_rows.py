"""Changes of one row."""

from foundation import clock
from foundation.db.rows import save_changes
from foundation.models import LawStatus


def test_the_changed_columns_are_saved_and_no_others(db):
    row = LawStatus.objects.create(law="L1", holds=True, since=clock.now())
    LawStatus.objects.update(checked=7)
    save_changes(row, holds=False, offenders=["a"])
    assert (row.holds, row.offenders) == (False, ["a"])
    assert list(LawStatus.objects.values_list("holds", "offenders", "checked")) == [(False, ["a"], 7)]
