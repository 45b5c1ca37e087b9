"""The start of a process."""

from django.core.checks import run_checks


def test_the_system_checks_ask_no_database() -> None:
    """An empty or absent database must not keep `migrate` or a worker from starting."""
    assert [error for error in run_checks() if error.is_serious()] == []
