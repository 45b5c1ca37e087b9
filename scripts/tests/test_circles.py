"""Which group a test is in, and that the list of what the first one leaves out is current."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.tests import circles


def test_a_row_that_is_missing_or_too_many_is_found(request):
    items = request.session.items
    page = "\n".join(circles.listed(items))
    assert circles.changed_rows(items, page) == []
    of_this = f"| {Path(__file__).relative_to(request.config.rootpath)} | a_test | other | git |"
    assert circles.changed_rows(items, f"{page}\n{of_this}\n| elsewhere.py | all | other | git |") == [
        of_this
    ]


def test_the_guard_watches_this_very_test():
    circles._guard.refused.clear()
    with pytest.raises(RuntimeError, match="isn't marked boots"):
        subprocess.run([sys.executable, "-V"])
    assert circles._guard.refused
    circles._guard.refused.clear()
