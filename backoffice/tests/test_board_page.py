"""The launch board's page, figures and buttons: permissions, reasons, the journal, and what they answer."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.tests.clients import signed_in
from backoffice.board import snapshots
from backoffice.board.page import PERMISSIONS
from coupons import issuing
from coupons.tests.factories import CampaignFactory, accounts, coupon_of
from foundation import clock
from foundation.models import JournalLine
from foundation.tests import process_state
from foundation.tests.factories import AccountFactory, SuperuserFactory, reloaded, set_columns, staff_member
from foundation.tests.journal_lines import journal_line
from foundation.tests.outages import database_away
from foundation.tests.racing import race_each
from foundation.tests.statements import captured_statements
from foundation.tests.waiting import shifted
from inventory.tests.factories import ProductFactory
from sales.tests.factories import create_sale

pytestmark = pytest.mark.django_db(transaction=True)
CHANGES = ["coupons.change_campaign", "inventory.change_product", "sales.change_sale"]


def client_of(*permissions: str) -> Client:
    return signed_in(staff_member(*PERMISSIONS, *permissions))


def press(client: Client, path: str, **fields):
    return client.post(f"/admin/board/{path}/", {"reason": "A wrong price.", **fields})


@pytest.fixture
def campaign():
    return CampaignFactory(name="Spring", quantity=10)


@pytest.fixture
def product():
    return ProductFactory(name="Mug", on_hand=5)


def test_the_page_has_no_script_or_style_of_its_own_and_loads_nothing_from_elsewhere():
    page = client_of().get("/admin/board/").text
    assert page.count("<script") == page.count("<script src=") + page.count('<script type="module" src=') + 1
    assert "<style" not in page and " style=" not in page and " onclick=" not in page
    assert "http://" not in page and "https://" not in page


@pytest.mark.parametrize("kind", ["campaign", "product", "sale"])
def test_a_row_is_paused_and_resumed_with_the_operator_and_the_reason(kind):
    made = {"campaign": CampaignFactory.create, "product": ProductFactory.create, "sale": create_sale}
    row, client = made[kind](name="Spring"), client_of(*CHANGES)
    for _ in range(2):  # repeating is safe
        answer = press(client, f"{kind}s/{row.pk}/pause")
        assert (answer.status_code, answer.json()["detail"][:17]) == (200, "Spring is paused.")
    row.refresh_from_db()
    assert row.paused_at is not None
    answer = press(client, f"{kind}s/{row.pk}/resume", reason="The price is right.")
    assert answer.json()["detail"].startswith("Spring is resumed.")
    row.refresh_from_db()
    assert row.paused_at is None
    operator = User.objects.get(is_staff=True)
    changes = [f"{kind}.paused", f"{kind}.resumed"]
    lines = JournalLine.objects.filter(subject=f"{kind} {row.pk}", what__in=changes).order_by("id")
    assert [(line.what, line.actor, line.actor_id, line.detail) for line in lines] == [
        (changes[0], "staff", operator.pk, "A wrong price."),
        (changes[1], "staff", operator.pk, "The price is right."),
    ]


@pytest.mark.parametrize(("number", "note"), [(0, ""), (1, "1 coupon waits"), (2, "2 coupons wait")])
def test_a_pause_says_how_many_slots_a_partner_may_still_make_coupons(number, note):
    """It said that no coupon would be issued, and then those came that the partner had confirmed."""
    campaign = CampaignFactory(name="Spring", quantity=10, partner="convenience_store")
    for account in accounts(number):
        issuing.STRATEGIES["group_commit"](campaign_id=campaign.pk, user_id=account)
    assert snapshots.read_goods([])["campaigns"][0]["with_partner"] == number
    client = client_of(*CHANGES)
    selected = {"action": "pause_selected", "_selected_action": campaign.pk}
    page = client.post("/admin/coupons/campaign/", selected).text

    answer = press(client, f"campaigns/{campaign.pk}/pause").json()["detail"]

    paused = client.get(f"/admin/coupons/campaign/{campaign.pk}/change/").text
    for text in (paused, page, answer):
        assert ("for the partner" in text) == bool(number)
        assert note in text


def test_a_quantity_is_raised_and_never_lowered(campaign):
    coupon_of(campaign)
    client = client_of(*CHANGES)
    answer = press(client, f"campaigns/{campaign.pk}/quantity", quantity="2500")
    assert answer.json() == {"detail": "Spring has 2,500 coupons now, of which 2,499 are left."}
    line = journal_line("campaign.changed")
    assert (line.before, line.after, line.detail) == ({"quantity": 10}, {"quantity": 2500}, "A wrong price.")
    for quantity, code in (("2500", "not_raised"), ("0", "invalid"), ("-1", "invalid"), ("", "invalid")):
        refused = press(client, f"campaigns/{campaign.pk}/quantity", quantity=quantity)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, code)
    for quantity in ("9" * 19, "9" * 30, "1e9", "²"):
        assert press(client, f"campaigns/{campaign.pk}/quantity", quantity=quantity).status_code == 400
    campaign.refresh_from_db()
    assert campaign.quantity == 2500


@pytest.mark.parametrize("kind", ["campaign", "product", "sale"])
def test_a_pause_needs_no_reason_which_is_added_afterwards(kind):
    made = {"campaign": CampaignFactory.create, "product": ProductFactory.create, "sale": create_sale}
    row, client = made[kind](name="Spring"), client_of(*CHANGES)
    base = f"/admin/board/{kind}s/{row.pk}"

    assert client.post(f"{base}/pause/").status_code == 200
    assert reloaded(row).paused_at is not None
    assert press(client, f"{kind}s/{row.pk}/explain").json()["detail"].endswith("history of Spring.")
    assert client.post(f"{base}/resume/").status_code == 200

    lines = JournalLine.objects.filter(subject=f"{kind} {row.pk}", actor="staff").order_by("id")
    assert [(line.what, line.detail) for line in lines] == [
        (f"{kind}.paused", ""),
        (f"{kind}.pause_explained", "A wrong price."),
        (f"{kind}.resumed", ""),
    ]
    assert {line.actor_name for line in lines} == {User.objects.get(is_staff=True).username}


def test_the_quantity_of_a_campaign_for_everybody_is_not_raised():
    campaign = CampaignFactory(name="Spring", quantity=None)

    refused = press(client_of(*CHANGES), f"campaigns/{campaign.pk}/quantity", quantity="99")

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "not_raised")
    campaign.refresh_from_db()
    assert campaign.quantity is None


def test_a_button_needs_a_reason_its_permission_and_something_to_act_on(campaign, product):
    paths = [f"campaigns/{campaign.pk}/{action}" for action in ("pause", "resume", "quantity")]
    paths += [f"products/{product.pk}/{action}" for action in ("pause", "resume", "explain")]
    client, onlooker, anonymous = client_of(*CHANGES), client_of(), Client()
    customer = signed_in(AccountFactory())
    for path in paths:
        assert press(client, path, reason="  ").json()["errors"][0]["field"] == "reason"
        assert press(client, path, reason="x" * 501).status_code == 400
        assert press(onlooker, path, quantity="99").status_code == 403
        assert press(anonymous, path, quantity="99").status_code == 401
        assert press(customer, path, quantity="99").status_code == 401
        assert client.get(f"/admin/board/{path}/").status_code == 405
        missing = path.replace(f"/{campaign.pk}/", "/987654/").replace(f"/{product.pk}/", "/987654/")
        assert press(client, missing, quantity="99").status_code == 404
    assert not JournalLine.objects.filter(what__in=["campaign.paused", "product.paused"]).exists()


def test_a_forged_request_presses_no_button(campaign):
    client = Client(enforce_csrf_checks=True)
    client.force_login(SuperuserFactory())
    assert press(client, f"campaigns/{campaign.pk}/pause").status_code == 403
    client.get("/admin/board/")
    token = client.cookies["csrftoken"].value
    assert press(client, f"campaigns/{campaign.pk}/pause", csrfmiddlewaretoken=token).status_code == 200


PATH = "/admin/board/figures/"


def figures_for(client: Client, since=0):
    answer = client.get(PATH, {"since": since})
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_a_page_gets_the_snapshot_and_the_points_that_it_has_missed():
    CampaignFactory(name="Spring", quantity=50)
    client, second = client_of(), int(clock.seconds()) - 5
    for before in (1, 2, 901):
        snapshots.save(second - before, {"left": before})

    answer = client.get(PATH)

    snapshot = answer.json()["snapshot"]
    assert [(one["name"], one["left"]) for one in snapshot["campaigns"]] == [("Spring", 50)]
    assert answer.json()["points"] == [[second - 2, {"left": 2}], [second - 1, {"left": 1}]]
    assert answer.headers["Cache-Control"] == "no-store"
    assert figures_for(client, since=second - 2)["points"] == [[second - 1, {"left": 1}]]
    assert figures_for(client, since=snapshot["second"])["points"] == []
    for odd in ("-1", "x", "9" * 30, "²"):
        assert len(figures_for(client, since=odd)["points"]) >= 2


LOSSES = {
    "sign out": lambda account, client: client.post("/admin/logout/"),
    "be disabled": lambda account, client: set_columns(account, is_active=False),
    "leave the staff": lambda account, client: set_columns(account, is_staff=False),
    "lose a permission": lambda account, client: account.user_permissions.remove(
        Permission.objects.get(codename="view_order")
    ),
    "change the password": lambda account, client: (
        account.set_password("another-harbour-8"),
        account.save(),
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_page_gets_no_more_figures_once_its_account_may_not_watch(loss):
    client, allowed = client_of(), signed_in(SuperuserFactory())
    figures_for(client)
    LOSSES[loss](User.objects.get(is_superuser=False), client)
    assert client.get(PATH).status_code == (403 if loss == "lose a permission" else 401)
    figures_for(allowed)
    assert allowed.post(PATH).status_code == 405


def test_a_board_that_is_only_looked_at_is_no_use_of_the_session():
    client, soon = client_of(), timezone.now() + timedelta(hours=1)
    Session.objects.update(expire_date=soon)
    with shifted(minutes=11):
        figures_for(client)
        assert Session.objects.get().expire_date == soon
        client.get("/admin/board/")
    assert Session.objects.get().expire_date - timezone.now() > timedelta(hours=11)


def test_a_snapshot_is_read_once_for_all_viewers_and_never_without_them(monkeypatch):
    clients = [signed_in(SuperuserFactory()) for _ in range(10)]
    read, compose = [], snapshots.compose

    def composed(**given):
        read.append(given["at"])
        return compose(**given)

    monkeypatch.setattr(snapshots, "compose", composed)
    monkeypatch.setattr(snapshots.latest, "_seconds", 60.0)
    answers = race_each(lambda client: figures_for(client)["snapshot"], clients)

    assert len(read) == 1
    assert all(one == answers[0] for one in answers)
    with captured_statements() as statements:
        figures_for(clients[0])
    assert len(statements) <= 4, "those that find the account of the session"


def test_the_board_goes_on_when_the_clock_is_set_back():
    """It waited until the clock had come to the second of the last snapshot again."""
    client = client_of()
    with shifted(hours=1):
        before = figures_for(client)["snapshot"]["second"]
    process_state.forget_shared_reads()
    now = figures_for(client, since=before)["snapshot"]["second"]
    assert before - now == pytest.approx(3_600, abs=10)


def test_without_redis_the_board_shows_what_the_database_has_and_asks_again_without_that(own_redis):
    CampaignFactory(name="Spring")
    client = client_of()
    assert figures_for(client)["snapshot"]["counts"]
    own_redis.kill()
    process_state.forget_shared_reads()
    data = figures_for(client)
    assert not data["snapshot"]["counts"]
    assert [one["name"] for one in data["snapshot"]["campaigns"]] == ["Spring"]
    client.raise_request_exception = False
    with database_away():
        assert client.get(PATH).status_code == 503
    figures_for(client)
