"""The launch board's figures: which accounts get them, what a page is sent, and what they cost."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from coupons.tests.factories import CampaignFactory
from shop import clock
from shop.backoffice.board import history, snapshots
from shop.backoffice.board.page import PERMISSIONS
from shop.concurrency import shared_read
from shop.tests.clients import signed_in
from shop.tests.factories import AccountFactory, SuperuserFactory
from shop.tests.outages import OwnRedis, database_away, own_redis
from shop.tests.racing import race
from shop.tests.statements import captured_statements

__all__ = ["own_redis"]
pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/admin/board/figures/"


@pytest.fixture
def account() -> User:
    made: User = AccountFactory.create(is_staff=True, permissions=list(PERMISSIONS))
    return made


def figures_for(client: Client, since: object = 0) -> Any:
    answer = client.get(PATH, {"since": since})
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_a_page_gets_the_snapshot_and_the_points_that_it_has_missed(account: User) -> None:
    CampaignFactory.create(name="Spring", quantity=50)
    client, second = signed_in(account), int(clock.now().timestamp()) - 5
    for before in (1, 2, 901):
        history.save(second - before, {"left": before})

    answer = client.get(PATH)

    snapshot = answer.json()["snapshot"]
    assert [(one["name"], one["left"]) for one in snapshot["campaigns"]] == [("Spring", 50)]
    assert answer.json()["points"] == [[second - 2, {"left": 2}], [second - 1, {"left": 1}]]
    assert answer.headers["Cache-Control"] == "no-store"
    assert figures_for(client, since=second - 2)["points"] == [[second - 1, {"left": 1}]]
    assert figures_for(client, since=snapshot["second"])["points"] == []
    for odd in ("-1", "x", "9" * 30, "²"):
        assert len(figures_for(client, since=odd)["points"]) >= 2


def test_accounts_that_may_not_watch_get_no_figures(account: User) -> None:
    support = AccountFactory.create(is_staff=True, permissions=list(PERMISSIONS[:2]))
    for client, status, code in (
        (Client(), 401, b"not_authenticated"),
        (signed_in(AccountFactory.create()), 401, b"not_authenticated"),
        (signed_in(support), 403, b"orders.view_order"),
    ):
        answer = client.get(PATH)
        assert answer.status_code == status
        assert code in answer.content
    assert signed_in(account).post(PATH).status_code == 405


def change_password(account: User, client: Client) -> None:
    account.set_password("another-harbour-8")
    account.save()


LOSSES: dict[str, Callable[[User, Client], object]] = {
    "sign out": lambda account, client: client.post("/admin/logout/"),
    "be disabled": lambda account, client: User.objects.filter(pk=account.pk).update(is_active=False),
    "leave the staff": lambda account, client: User.objects.filter(pk=account.pk).update(is_staff=False),
    "lose a permission": lambda account, client: account.user_permissions.remove(
        Permission.objects.get(codename="view_order")
    ),
    "change the password": change_password,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_page_gets_no_more_figures_once_its_account_may_not_watch(account: User, loss: str) -> None:
    client, allowed = signed_in(account), signed_in(SuperuserFactory.create())
    figures_for(client)
    LOSSES[loss](account, client)
    assert client.get(PATH).status_code == (403 if loss == "lose a permission" else 401)
    figures_for(allowed)


def test_a_board_that_is_only_looked_at_is_no_use_of_the_session(account: User) -> None:
    client, soon = signed_in(account), timezone.now() + timedelta(hours=1)
    Session.objects.update(expire_date=soon)
    with clock.shifted(by=timedelta(minutes=11)):
        figures_for(client)
        assert Session.objects.get().expire_date == soon
        client.get("/admin/board/")
    assert Session.objects.get().expire_date - timezone.now() > timedelta(hours=11)


def test_a_snapshot_is_read_once_for_all_viewers_and_never_without_them(
    account: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [signed_in(SuperuserFactory.create()) for _ in range(10)]
    read, compose = [], snapshots.compose

    def composed(**given: Any) -> Any:
        read.append(given["at"])
        return compose(**given)

    monkeypatch.setattr(snapshots, "compose", composed)
    monkeypatch.setattr(snapshots.latest, "_seconds", 60.0)
    answers = race([lambda client=client: figures_for(client)["snapshot"] for client in clients])

    assert len(read) == 1
    assert all(one == answers[0] for one in answers)
    with captured_statements() as statements:
        figures_for(clients[0])
    assert len(statements) <= 4, "those that find the account of the session"


def test_the_board_goes_on_when_the_clock_is_set_back(account: User) -> None:
    """It waited until the clock had come to the second of the last snapshot again."""
    client = signed_in(account)
    with clock.shifted(by=timedelta(hours=1)):
        before = figures_for(client)["snapshot"]["second"]
    shared_read.forget_all()
    now = figures_for(client, since=before)["snapshot"]["second"]
    assert before - now == pytest.approx(3_600, abs=10)


def test_without_redis_the_board_shows_what_the_database_has(account: User, own_redis: OwnRedis) -> None:
    CampaignFactory.create(name="Spring")
    client = signed_in(account)
    assert figures_for(client)["snapshot"]["counts"]
    own_redis.kill()
    shared_read.forget_all()
    data = figures_for(client)
    assert not data["snapshot"]["counts"]
    assert [one["name"] for one in data["snapshot"]["campaigns"]] == ["Spring"]


def test_without_the_database_pages_are_told_to_ask_again(account: User) -> None:
    client = signed_in(account)
    client.raise_request_exception = False
    with database_away():
        assert client.get(PATH).status_code == 503
    figures_for(client)
