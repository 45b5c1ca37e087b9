"""Accounts and tokens when the reply to a COMMIT is lost: changed once, and reported as changed."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from accounts import accounts
from accounts.tokens import token_pairs
from events.tests.delivering import dead
from events.webhooks import deliveries
from foundation.db import commit_marks
from foundation.models import CommittedTransaction
from foundation.tests.factories import PASSWORD, AccountFactory
from foundation.tests.journal_lines import times_noted
from foundation.tests.lost_replies import losing_reply_to_commit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account():
    return AccountFactory()


@pytest.fixture
def dead_event():
    return dead()


@pytest.fixture
def _loss(account, dead_event, tmp_path):
    """The reply to the test's first COMMIT is lost. Comes after the other fixtures, whose rows must exist."""
    with losing_reply_to_commit(tmp_path) as is_lost:
        yield
        assert is_lost.is_set()


@pytest.mark.usefixtures("_loss")
def test_a_registration_is_not_refused_because_of_its_own_account():
    account = accounts.register(username="ada", email="ada@example.com", password=PASSWORD)
    assert User.objects.get(username="ada").pk == account.pk
    assert account.check_password(PASSWORD)


@pytest.mark.usefixtures("_loss")
def test_a_refresh_token_returns_its_pair_and_the_sign_in_lasts(account):
    pair = token_pairs.rotate(token_pairs.create_token_pair(account).refresh)
    assert token_pairs.rotate(pair.refresh)


@pytest.mark.usefixtures("_loss")
def test_accounts_that_were_disabled_are_counted(account):
    assert accounts.disable(account_ids=[account.pk]) == 1


@pytest.mark.usefixtures("_loss")
def test_replayed_dead_events_are_returned_and_noted_once(dead_event):
    assert deliveries.resend_dead([dead_event.pk]) == [dead_event.pk]
    assert times_noted("event.resent") == 1


def test_marks_are_kept_for_a_day():
    accounts.register(username="ada", email="ada@example.com", password=PASSWORD)
    assert commit_marks.sweep() == 0
    mark = CommittedTransaction.objects.get()
    CommittedTransaction.objects.update(at=mark.at - timedelta(hours=25))
    assert commit_marks.sweep() == 1
