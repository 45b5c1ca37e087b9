"""The export of an account by its command."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError
from django_otp.plugins.otp_totp.models import TOTPDevice

from coupons.tests.factories import CampaignFactory, coupon_of
from payments.tests import factories
from shop.accounts import accounts
from shop.events import journal
from shop.events.journal import Actor, ActorContext
from shop.models import JournalLine
from shop.personal_data import registry
from shop.tests import commands, test_approvals
from shop.tests.factories import AccountFactory, OrderFactory, hashed_password

pytestmark = pytest.mark.django_db
OLGA = ActorContext(Actor.STAFF, 4711, "olga")


def exported(name: str) -> Any:
    code, output = commands.run("export_account", name)
    assert code == 0
    return json.loads(output)


def test_the_export_has_the_rows_of_every_model_and_none_of_others() -> None:
    ada, other = AccountFactory.create(username="ada"), AccountFactory.create(username="bob")
    for account in (ada, other):
        OrderFactory.create(account=account, total_amount=500, card_amount=500)
        coupon_of(CampaignFactory.create(), account)
    wallet = factories.wallet(points=7)

    tables = exported("ada")["tables"]

    assert tables.keys() == registry.personal_data().keys()
    assert [row["username"] for row in tables["auth.User"]] == ["ada"]
    assert [row["account_id"] for row in tables["orders.Order"]] == [ada.pk]
    assert [row["account_id"] for row in tables["coupons.Coupon"]] == [ada.pk]
    assert exported(f"id:{wallet}")["tables"]["payments.LedgerAccount"][0]["balance_amount"] == 7


def test_the_export_has_no_secret() -> None:
    ada = AccountFactory.create(username="ada")
    TOTPDevice.objects.create(user=ada, name="authenticator", key="5ec3e7" * 6)

    document = exported("ada")

    assert hashed_password() not in json.dumps(document)
    assert "5ec3e7" not in json.dumps(document)
    assert document["tables"]["otp_totp.TOTPDevice"][0]["name"] == "authenticator"


def test_the_export_has_the_journals_lines_without_the_names_of_operators() -> None:
    ada = AccountFactory.create(username="ada")
    own = ActorContext(Actor.ACCOUNT, ada.pk, "ada")
    for actor in (OLGA, own):
        with journal.acting(actor):
            accounts.note_change("changed", ada.pk, after={"email": "new@example.com"})

    document = exported("ada")

    lines = document["tables"]["shop.JournalLine"]
    assert [line["actor_name"] for line in lines if line["what"] == "account.changed"] == ["", "ada"]
    assert "olga" not in json.dumps(document)


def test_the_export_names_neither_operator_of_an_approval() -> None:
    ada = AccountFactory.create(username="ada")
    asker, approver = (test_approvals.granter(username=name) for name in ("olga", "oleg"))
    test_approvals.approve(approver, test_approvals.asked_for(asker, ada))

    document = exported("ada")

    [approval] = document["tables"]["shop.Approval"]
    assert (approval["reason"], approval["asker_id"], approval["decider_id"]) == ("late delivery", None, None)
    assert not any(name in json.dumps(document) for name in ("olga", "oleg"))


def test_each_export_is_in_the_journal_with_its_reason() -> None:
    ada = AccountFactory.create(username="ada")

    commands.run("export_account", "ada", "--reason", "Asked by e-mail.")

    line = JournalLine.objects.get(what="account.exported")
    assert (line.subject, line.detail, line.is_internal) == (f"account {ada.pk}", "Asked by e-mail.", True)


def test_a_file_is_for_its_owner_alone_and_never_written_over(tmp_path: Path) -> None:
    AccountFactory.create(username="ada")
    file = tmp_path / "ada.json"

    commands.run("export_account", "ada", "--output", str(file))

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_bytes())["tables"]["auth.User"][0]["username"] == "ada"
    with pytest.raises(CommandError, match="File exists"):
        commands.run("export_account", "ada", "--output", str(file))
    assert JournalLine.objects.filter(what="account.exported").count() == 1
