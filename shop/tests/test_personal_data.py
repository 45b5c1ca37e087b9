"""Personal data: their registry, the export of an account's, and its erasure."""

import json
import threading
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core import serializers
from django.core.management.base import CommandError
from django.db.models import Model
from django.test import override_settings
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import accounts
from accounts.accounts import InvalidCredentials
from accounts.personal_data import erasure, registry
from accounts.personal_data.registry import REGISTRY
from accounts.signing_in import sign_ins
from accounts.tests import approving
from accounts.tests.clients import client_of
from accounts.tokens import disabled_accounts, sign_outs, token_pairs
from coupons.models import Confirmation, QueueTicket
from coupons.tests.factories import CampaignFactory, coupon_of
from foundation import clock, journal, pseudonyms
from foundation.errors import Invalid, Rejected
from foundation.journal import Actor, ActorContext
from foundation.models import IdempotencyKey, JournalLine
from foundation.tests import commands
from foundation.tests.factories import PASSWORD, AccountFactory, OrderFactory, hashed_password
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.racing import race, wait_until
from inventory.tests.factories import ProductFactory
from orders import cancellation
from orders.models import Order, OrderNote
from payments import audit, ledger
from payments.models import Entry, LedgerAccount, Transfer
from payments.tests import factories, granting
from payments.tests.factories import PaymentFactory

pytestmark = pytest.mark.django_db
WHY = "Asked by e-mail."
ADDRESS, EMAIL, NAME = "203.0.113.77", "ada.lovelace@example.org", "ada-lovelace"
SETTLING = erasure.SETTLING


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch):
    monkeypatch.setattr(erasure, "SETTLING", timedelta(0))


@pytest.fixture
def ada():
    return AccountFactory(username=NAME, email=EMAIL, first_name="Augusta", last_name="Lovelace")


def erase(account: User, **options) -> erasure.Erased:
    erasure.start(account_id=account.pk, reason=WHY, **options)
    return erasure.erase(account_id=account.pk, reason=WHY, **options)


def everything() -> str:
    rows = [row for model in apps.get_models() for row in model._base_manager.all()]
    return serializers.serialize("json", rows)


def fill(ada: User):
    """All that names her: what she did, what was done to her account, and how she signs in."""
    order = OrderFactory(
        account=ada, total_amount=500, card_amount=500, status="cancelled", ended_at=clock.now()
    )
    OrderNote.objects.create(
        order=order, author_id=7, text=f"{NAME} writes from {EMAIL}", created_at=clock.now()
    )
    coupon_of(CampaignFactory(), ada)
    device = StaticDevice.objects.create(user=ada, name="backup codes")
    StaticToken.objects.create(device=device, token="abc")
    TOTPDevice.objects.create(user=ada, name="authenticator")
    ada.groups.add(Group.objects.create(name="warehouse"))
    kept = {"key_hash": "a" * 64, "status": 201, "body": NAME}
    IdempotencyKey.objects.create(account=ada, created_at=clock.now(), **kept)
    of_users = ContentType.objects.get_for_model(User)
    change = {"object_id": str(ada.pk), "object_repr": NAME, "action_flag": CHANGE}
    LogEntry.objects.create(user=ada, content_type=of_users, **change)
    granting.asked_for(ada, AccountFactory())
    approving.approve(ada, granting.asked_for(granting.granter(), AccountFactory()))
    IdempotencyKey.objects.exclude(account=ada).delete()
    session = SessionStore()
    session[SESSION_KEY] = str(ada.pk)
    session.save()
    sign_ins.sign_in(username=NAME, password=PASSWORD, address=ADDRESS)
    with pytest.raises(InvalidCredentials):
        sign_ins.sign_in(username=NAME, password="wrong", address=ADDRESS)
    accounts.note_change("changed", ada.pk, before={"email": EMAIL}, after={"email": f"new-{EMAIL}"})


def test_no_table_has_the_name_or_the_addresses_of_an_erased_account_and_the_journal_what_happened(ada):
    fill(ada)
    kept = JournalLine.objects.values_list("id", "at", "what", "subject", "actor_id").order_by("id")
    lines = list(kept)
    other = AccountFactory(username="bob")
    before = everything()
    assert all(text in before for text in (NAME, EMAIL, ADDRESS, "Augusta", "Lovelace"))

    assert erase(ada).is_new

    after = everything()
    assert [text for text in (NAME, EMAIL, ADDRESS, "Augusta", "Lovelace") if text in after] == []
    ada.refresh_from_db()
    assert ada.username == f"erased-{ada.pk}"
    approved = journal_line("approval.approved").after
    assert approved and approved["approved_by"] == {"id": ada.pk, "username": ada.username}
    assert approved["asked_by"]["username"].startswith("account-")
    assert not (ada.is_active or ada.has_usable_password() or ada.groups.exists())
    for model in (TOTPDevice, StaticDevice, StaticToken, Session, IdempotencyKey, OrderNote):
        assert not model._base_manager.exists(), model
    assert Order.objects.get().account_id == ada.pk
    other.refresh_from_db()
    assert other.username == "bob"
    assert list(kept)[: len(lines)] == lines
    line = journal_line("account.erased")
    assert (line.subject, line.detail) == (f"account {ada.pk}", WHY)
    signed_in = JournalLine.objects.filter(what=sign_ins.SIGNED_IN).get()
    assert (signed_in.actor_name, signed_in.detail) == (f"erased-{ada.pk}", f"from erased-{ada.pk}")
    assert [past["account"] for past in erasure.past_erasures()] == [ada.pk]

    assert not erase(ada).is_new, "a second one does nothing"

    assert everything() == after
    _, output = commands.run("erase_account", f"id:{ada.pk}", "--reason", WHY)
    assert "was erased before: nothing was done" in output


OPEN = {
    "order": lambda ada: OrderFactory(account=ada, total_amount=500, card_amount=500),
    "payment": lambda ada: PaymentFactory(account=ada, order=None, top_up=True),
    "confirmation": lambda ada: Confirmation.objects.create(
        campaign=CampaignFactory(), account=ada, taken_at=clock.now(), next_attempt_at=clock.now()
    ),
    "queue ticket": lambda ada: QueueTicket.objects.create(
        campaign=CampaignFactory(), account=ada, number=1, created_at=clock.now()
    ),
}


@pytest.mark.parametrize("named", OPEN)
def test_what_is_open_refuses_the_erasure_is_named_and_nothing_changes(ada, named):
    OPEN[named](ada)
    before = everything()

    with pytest.raises(Rejected, match=named):
        erase(ada)
    with pytest.raises(CommandError, match=named):
        commands.run("erase_account", NAME, "--reason", WHY)

    assert everything() == before


def test_points_refuse_the_erasure_unless_they_are_forfeited_and_the_books_agree():
    owner = User.objects.get(pk=factories.wallet(points=700))
    with pytest.raises(Rejected, match="700 points"):
        erase(owner)

    done = erase(owner, forfeit_balance=True)

    assert done.forfeited_amount == 700
    assert ledger.balance_amount(owner.pk) == 0
    assert LedgerAccount.objects.get(pk=owner.pk).user_id == owner.pk
    assert Entry.objects.filter(transfer__kind=Transfer.Kind.FORFEIT).count() == 2
    assert [law for law in audit.audit() if not law.holds] == []


def test_an_account_is_erased_only_after_processes_forgot_that_it_was_enabled(ada, monkeypatch):
    assert SETTLING.total_seconds() > disabled_accounts.MAX_AGE_SECONDS
    monkeypatch.setattr(erasure, "SETTLING", SETTLING)
    erasure.start(account_id=ada.pk, reason=WHY)

    with pytest.raises(Rejected, match="has been disabled for"):
        erasure.erase(account_id=ada.pk, reason=WHY)

    ada.refresh_from_db()
    assert (ada.username, ada.is_active) == (NAME, False)
    monkeypatch.setattr(erasure, "SETTLING", timedelta(0))
    sign_outs.enable(account_id=ada.pk)
    accounts.disable(account_ids=[ada.pk])
    with pytest.raises(Rejected, match="has been disabled for"):
        erasure.erase(account_id=ada.pk, reason=WHY)


def test_tokens_of_an_erased_account_are_refused_even_if_it_is_enabled(ada):
    pair, client = token_pairs.create_token_pair(ada), client_of(ada)
    assert client.get("/wallet").status_code == 200

    erase(ada)

    sign_outs.enable(account_id=ada.pk)
    disabled_accounts.CACHED.forget()
    assert client.get("/wallet").status_code == 401
    assert client.post("/auth/refresh", {"refresh": pair.refresh}).status_code == 401
    # No account registers under the name of an erased one.
    with pytest.raises(Invalid) as refused:
        accounts.register(username="Erased-7", email=EMAIL, password=PASSWORD)
    assert refused.value.extra["errors"][0]["code"] == "taken"


def test_the_command_erases_several_for_a_reason_and_lists_them(ada):
    other = AccountFactory()

    _, output = commands.run("erase_account", NAME, f"id:{other.pk}", "--reason", WHY)

    assert f"Account {ada.pk} is erased" in output
    _, listed = commands.run("erase_account", "--list")
    found = [(past["account"], past["reason"]) for past in json.loads(listed)]
    assert found == [(ada.pk, WHY), (other.pk, WHY)]
    with pytest.raises(CommandError, match="reason"):
        commands.run("erase_account", NAME)


@pytest.mark.parametrize("part", range(4))
def test_an_erasure_that_was_interrupted_is_completed_by_a_repeat(ada, part, monkeypatch):
    fill(ada)
    monkeypatch.setattr(pseudonyms, "LINES_PER_TRANSACTION", 1)
    module, name = (
        (erasure, "_delete_rows"),
        (erasure, "_replace_names"),
        (pseudonyms, "_update_names"),
        (pseudonyms, "_update_values"),
    )[part]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            erase(ada)

    assert erase(ada).is_new
    after = everything()
    assert [text for text in (NAME, EMAIL, ADDRESS, "Augusta", "Lovelace") if text in after] == []
    assert times_noted("account.erased") == 1


class Buyer:
    """A customer whose client places orders and cancels them, with a token of before, until it is stopped."""

    def __init__(self, account):
        self.client, self.product = client_of(account), ProductFactory(on_hand=100_000, price=5)
        self.statuses: list[int] = []
        self.stopped = threading.Event()

    def place_and_cancel(self):
        body = {"items": [{"product": self.product.pk, "quantity": 1}]}
        while not self.stopped.wait(0.02):
            key = f"{threading.get_ident()}-{len(self.statuses)}"
            answer = self.client.post("/orders", body, key=key)
            self.statuses.append(answer.status_code)
            if answer.status_code == 201:
                self.client.post(f"/orders/{answer.json()['id']}/cancel", key=f"{key}-cancel")


def orders_placed_after_the_erasure(ada: User, monkeypatch, settling: timedelta) -> int:
    """Erase the account while two clients place orders with its tokens, and return how many came later."""
    monkeypatch.setattr(erasure, "SETTLING", settling)
    disabled_accounts.CACHED.forget()
    buyers = [Buyer(ada), Buyer(ada)]
    stopped = threading.Event()

    def repeat(step):
        """Each refusal is of an order that is open. Staff cancel those that their buyer no longer can."""
        while True:
            try:
                step()
                return
            except Rejected:
                for order in Order.objects.filter(account=ada, status="awaiting_payment"):
                    cancellation.cancel(order_id=order.pk, account_id=None)

    def erase_beside():
        try:
            wait_until(lambda: all(201 in buyer.statuses for buyer in buyers))
            repeat(lambda: erasure.start(account_id=ada.pk, reason=WHY))
            stopped.wait(settling.total_seconds())
            repeat(lambda: erasure.erase(account_id=ada.pk, reason=WHY))
            tried = [len(buyer.statuses) for buyer in buyers]
            wait_until(lambda: all(len(b.statuses) > n + 3 for b, n in zip(buyers, tried, strict=True)))
        finally:
            for buyer in buyers:
                buyer.stopped.set()

    outcomes = race([*(buyer.place_and_cancel for buyer in buyers), erase_beside])

    assert outcomes == [None, None, None]
    erased = journal_line("account.erased")
    return Order.objects.filter(account=ada, placed_at__gt=erased.at).count()


@pytest.mark.django_db(transaction=True)
@override_settings(RATE_ORDERS=None)
def test_no_order_is_placed_after_an_erasure_beside_clients_that_place_orders(ada, monkeypatch):
    settling = timedelta(seconds=disabled_accounts.MAX_AGE_SECONDS + 1)
    assert orders_placed_after_the_erasure(ada, monkeypatch, settling) == 0


@pytest.mark.django_db(transaction=True)
@override_settings(RATE_ORDERS=None)
def test_without_the_wait_orders_are_placed_for_an_erased_account(ada, monkeypatch):
    assert orders_placed_after_the_erasure(ada, monkeypatch, timedelta(0)) > 0


OLGA = ActorContext(Actor.STAFF, 4711, "olga")


def exported(account_id: int):
    with journal.acting(OLGA):
        return json.loads(registry.export(account_id=account_id, reason=WHY))


def test_the_export_has_the_rows_of_every_model_and_none_of_others():
    ada, other = AccountFactory(username="ada"), AccountFactory(username="bob")
    for account in (ada, other):
        OrderFactory(account=account, total_amount=500, card_amount=500)
        coupon_of(CampaignFactory(), account)
    wallet = factories.wallet(points=7)

    tables = exported(ada.pk)["tables"]

    assert tables.keys() == registry.personal_data().keys()
    assert [row["username"] for row in tables["auth.User"]] == ["ada"]
    assert [row["account_id"] for row in tables["orders.Order"]] == [ada.pk]
    assert [row["account_id"] for row in tables["coupons.Coupon"]] == [ada.pk]
    assert exported(wallet)["tables"]["payments.LedgerAccount"][0]["balance_amount"] == 7


def test_the_export_has_no_secret_and_names_no_operator():
    ada = AccountFactory(username="ada")
    TOTPDevice.objects.create(user=ada, name="authenticator", key="5ec3e7" * 6)
    for actor in (OLGA, ActorContext(Actor.ACCOUNT, ada.pk, "ada")):
        with journal.acting(actor):
            accounts.note_change("changed", ada.pk, after={"email": "new@example.com"})
    asker, approver = (granting.granter(username=name) for name in ("olga", "oleg"))
    approving.approve(approver, granting.asked_for(asker, ada))

    document = exported(ada.pk)

    for hidden in (hashed_password(), "5ec3e7", "olga", "oleg"):
        assert hidden not in json.dumps(document)
    assert document["tables"]["otp_totp.TOTPDevice"][0]["name"] == "authenticator"
    lines = document["tables"]["shop.JournalLine"]
    assert [line["actor_name"] for line in lines if line["what"] == "account.changed"] == ["", "ada"]
    [approval] = document["tables"]["shop.Approval"]
    assert (approval["reason"], approval["asker_id"], approval["decider_id"]) == ("late delivery", None, None)


def all_models() -> list[type[Model]]:
    return apps.get_models(include_auto_created=True)


def test_every_model_has_an_entry_and_every_entry_a_model_with_the_columns_that_it_leaves_out():
    labels = {model._meta.label for model in all_models()}
    assert REGISTRY.keys() == labels, "write them into the app's personal_data.py"
    for label, entry in registry.personal_data().items():
        names = {field.name for field in apps.get_model(label)._meta.concrete_fields}
        assert entry.secrets <= names, label


def test_a_model_with_a_foreign_key_to_accounts_is_never_excepted():
    related = {
        model._meta.label
        for model in all_models()
        for field in model._meta.concrete_fields
        if field.related_model is not None and field.related_model._meta.label == "auth.User"
    }
    assert related
    assert [label for label in related if isinstance(REGISTRY[label], str)] == []


@pytest.mark.usefixtures("_a_row_of_every_model")
def test_every_path_is_a_query_that_finds_nothing_of_a_stranger():
    stranger = AccountFactory()
    found = {label: list(registry.rows_of(label, stranger.pk)) for label in registry.personal_data()}
    assert [label for label, rows in found.items() if rows] == ["auth.User"]
