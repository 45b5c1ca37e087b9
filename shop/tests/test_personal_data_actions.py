"""The actions on an account's page that export and erase it."""

from datetime import timedelta

import pytest

from accounts.personal_data import erasure
from shop.models import JournalLine
from shop.tests.clients import signed_in
from shop.tests.confirming import confirmed
from shop.tests.factories import AccountFactory, OrderFactory, SuperuserFactory
from shop.tests.test_account_page import address_of

pytestmark = pytest.mark.django_db
WHY = "Asked by e-mail."


def test_an_export_is_a_file_and_in_the_journal_with_the_operator_and_the_reason() -> None:
    ada, olga = AccountFactory.create(username="ada"), SuperuserFactory.create(username="olga")

    answer = confirmed(signed_in(olga), address_of("export", ada), reason=WHY)

    assert answer["Content-Disposition"] == f'attachment; filename="account-{ada.pk}.json"'
    assert [row["username"] for row in answer.json()["tables"]["auth.User"]] == ["ada"]
    line = JournalLine.objects.get(what="account.exported")
    assert (line.actor_name, line.detail) == ("olga", WHY)


def test_an_erasure_disables_first_and_erases_when_it_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ada, client = AccountFactory.create(username="ada"), signed_in(SuperuserFactory.create(username="olga"))

    confirmed(client, address_of("erase", ada), reason=WHY)
    ada.refresh_from_db()
    assert (ada.username, ada.is_active) == ("ada", False)

    monkeypatch.setattr(erasure, "SETTLING", timedelta(0))
    confirmed(client, address_of("erase", ada), reason=WHY)
    ada.refresh_from_db()
    assert ada.username == f"erased-{ada.pk}"
    line = JournalLine.objects.get(what="account.erased")
    assert (line.actor_name, line.detail) == ("olga", WHY)


def test_a_refused_erasure_says_what_is_open() -> None:
    ada = AccountFactory.create()
    order = OrderFactory.create(account=ada, card_amount=500)

    answer = confirmed(signed_in(SuperuserFactory.create()), address_of("erase", ada), reason=WHY)

    assert str(order.pk) in answer.content.decode()
    ada.refresh_from_db()
    assert ada.is_active


@pytest.mark.parametrize("action", ["export", "erase"])
def test_each_needs_its_permission_and_staff_are_for_superusers(action: str) -> None:
    ada, colleague = AccountFactory.create(), AccountFactory.create(is_staff=True)
    other = {"export": "erase", "erase": "export"}[action]
    permitted, without = (
        AccountFactory.create(is_staff=True, permissions=["auth.view_user", f"auth.{name}_user"])
        for name in (action, other)
    )

    assert signed_in(permitted).get(address_of(action, ada)).status_code == 200
    assert signed_in(permitted).get(address_of(action, colleague)).status_code == 403
    assert signed_in(without).get(address_of(action, ada)).status_code == 403
