"""A part of a test whose rows the next part doesn't see, so that many cases share one set-up."""

from contextlib import contextmanager

from django.db import transaction


@contextmanager
def rolled_back():
    """Undo in the end what is written inside. As with the test's own transaction, none seems to be open."""
    block = transaction.atomic()
    block._from_testcase = True
    with block:
        yield
        transaction.set_rollback(True)
