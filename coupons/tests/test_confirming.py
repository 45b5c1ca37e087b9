"""Confirming by a partner: its protocol, the result of each of its answers, over HTTP and under races.

What the HTTP client makes of slow, cut and malformed replies: `foundation/tests/test_outbound_calls.py`.
"""

import itertools
import random
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from uuid import UUID, uuid4

import orjson
import pytest
from django.db import OperationalError, transaction

from accounts.tests.clients import new_customer, problem_of
from coupons import issuing
from coupons.issuing import STRATEGIES
from coupons.models import Confirmation, Coupon, PoolCode
from coupons.partners import confirmation
from coupons.partners.contract import NoAnswer, NotReached, PartnerReply
from coupons.partners.convenience_store import ConvenienceStore
from coupons.tests.factories import TWO_STRATEGIES, CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import allocated, issue, issue_calls, raced, refusal
from coupons.tests.own_partner import NAME, address, issued, partner_that, registered, slot_of
from foundation.concurrency import thread_pool
from foundation.db import transactions
from foundation.errors import FirstcomeError, PartnerFailed
from foundation.tests.factories import reloaded
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.outages import nowhere
from foundation.tests.racing import race, wait_until
from scripts.stack import ports
from scripts.tests import canned_shop
from scripts.tests.canned_shop import Answer

pytestmark = pytest.mark.django_db(transaction=True)
by_two = pytest.mark.parametrize("strategy", TWO_STRATEGIES)
by_each = pytest.mark.parametrize("strategy", sorted({*STRATEGIES} - {"unsafe", "queue"}))


campaign_with = partial(CampaignFactory.create, partner=NAME)


def as_if_long_ago():
    due = {"next_attempt_at": "2026-01-01T00:00:00Z"}
    transactions.run(lambda: Confirmation.objects.update(**due), transactions.KEYED)


def left(campaign) -> tuple[int, int, int, int]:
    """What is issued and being confirmed, the codes in flight, and the confirmations."""
    campaign.refresh_from_db()
    in_flight = PoolCode.objects.filter(status="in_flight").count()
    return campaign.issued, campaign.confirming, in_flight, Confirmation.objects.count()


@by_two
def test_a_partner_that_agrees_makes_it_the_customers_coupon(strategy, user, own_partner):
    campaign = campaign_with(strategy=strategy, code_source="pool", codes=3, quantity=2)

    first, second = (user.post("/coupons", {"campaign": campaign.pk}) for _ in range(2))

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert [first.json()["code"]] == registered(own_partner) == issued()
    assert positions(campaign) == [1]
    assert times_noted("coupon.issued") == 1


@by_two
def test_a_refusal_leaves_nothing_and_the_campaign_is_open(strategy, user, own_partner, settings, tmp_path):
    campaign = campaign_with(strategy=strategy, code_source="pool", codes=1, quantity=1)
    body = {"campaign": campaign.pk}

    with partner_that("--failure-rate", "1", folder=tmp_path, settings=settings):
        refused = user.post("/coupons", body)
    assert problem_of(refused) == (502, "partner_failed")
    assert (left(campaign), broken()) == ((0, 0, 0, 0), {})

    issued_to_another = new_customer().post("/coupons", body)
    assert issued_to_another.status_code == 201, issued_to_another.content
    assert [issued_to_another.json()["code"]] == registered(own_partner)
    assert user.post("/coupons", body).json()["code"] == "sold_out"
    line = journal_line("coupon.not_confirmed")
    assert line.is_internal
    assert line.event_id is None


def test_a_released_slot_is_available_although_the_campaign_was_read_as_sold_out(own_partner):
    campaign, [first, second] = campaign_with(quantity=1), accounts(2)
    slot = slot_of(campaign, first)
    asks = partial(issuing.issue, campaign_id=campaign.pk, user_id=second)
    assert [refusal(asks), refusal(asks)] == ["sold_out", "sold_out"]

    confirmation.release_slot(slot)

    assert asks().is_new


def test_without_an_answer_the_slot_is_kept_until_a_repeat(user, own_partner, settings, tmp_path):
    """The partner registers and never answers, and is then repaired: a repeat calls it under the same key."""
    campaign = campaign_with(quantity=1)
    with partner_that("--silent-rate", "1", folder=tmp_path, settings=settings) as silent:
        settings.PARTNER_TIMEOUT_SECONDS = 0.3
        waits = user.post("/coupons", {"campaign": campaign.pk})
        assert problem_of(waits) == (503, "unavailable")
        assert int(waits["Retry-After"]) >= 1
        wait_until(lambda: bool(registered(silent)))
        [code] = registered(silent)
    campaign.refresh_from_db()
    assert (campaign.issued, campaign.confirming) == (0, 1)

    with partner_that(folder=tmp_path, settings=settings) as mended:
        gets = user.post("/coupons", {"campaign": campaign.pk})
        assert (gets.status_code, gets.json()["code"]) == (201, code)
        [found] = mended.get("/registrations")[1]["results"]
        assert found["asked"] == 2


def test_a_coupon_confirmed_after_its_request_is_returned_to_a_repeat(user, own_partner, settings, tmp_path):
    campaign = campaign_with()
    with partner_that("--late-rate", "1", "--late-seconds", "2", folder=tmp_path, settings=settings) as late:
        settings.PARTNER_TIMEOUT_SECONDS = 0.3
        assert user.post("/coupons", {"campaign": campaign.pk}).status_code == 503
        wait_until(lambda: bool(registered(late)))
        settings.PARTNER_TIMEOUT_SECONDS = 10.0
        as_if_long_ago()
        assert confirmation.recover_due() == 1
    found = user.post("/coupons", {"campaign": campaign.pk})
    assert (found.status_code, found.json()["position"]) == (200, 1)


def test_an_unreachable_partner_leaves_nothing_behind_and_later_requests_take_no_slot(settings):
    settings.PARTNER_URL = nowhere()
    campaign = campaign_with(code_source="pool", codes=50)

    first, *others = issue_calls(campaign.pk, accounts(confirmation.FAILURES + 2))
    with pytest.raises(PartnerFailed, match="not reached; nothing was issued"):
        first()
    outcomes = [refusal(asks) for asks in others]

    assert outcomes == ["partner_failed"] * (confirmation.FAILURES - 1) + ["unavailable"] * 2
    assert isinstance(confirmation.call_partner(NAME, CALLS["find"]), NotReached)
    assert (left(campaign), broken()) == ((0, 0, 0, 0), {})


def test_an_existing_coupon_is_returned_while_the_partner_is_unavailable(own_partner, settings):
    campaign, [user_id] = campaign_with(), accounts(1)
    code = issue(campaign, user_id).coupon.code
    settings.PARTNER_URL = ""

    assert confirmation.is_unavailable(NAME)
    assert issue(campaign, user_id).coupon.code == code
    assert refusal(issue_calls(campaign.pk, accounts(1))[0]) == "unavailable"


def test_an_unreachable_partner_does_not_release_a_key_that_was_sent_before(settings, tmp_path):
    """The first call may have reached the partner: the slot stays, even if a later call can't connect."""
    settings.PARTNER_TIMEOUT_SECONDS = 0.3
    campaign, [user_id] = campaign_with(), accounts(1)
    asks = issue_calls(campaign.pk, [user_id])[0]
    with partner_that("--silent-rate", "1", folder=tmp_path, settings=settings):
        assert refusal(asks) == "unavailable"
    settings.PARTNER_URL = nowhere()

    assert refusal(asks) == "unavailable"
    assert Confirmation.objects.get().attempts == 1


def test_the_slot_is_kept_when_another_request_may_have_reached_the_partner(own_partner, settings):
    campaign, [user_id] = campaign_with(), accounts(1)
    first = slot_of(campaign, user_id)
    assert (first.is_new, slot_of(campaign, user_id).is_new) == (True, False)
    Confirmation.objects.update(attempts=1)
    settings.PARTNER_URL = nowhere()

    assert refusal(lambda: confirmation.ask_partner(first)) == "unavailable"
    assert Confirmation.objects.count() == 1


@by_each
def test_50_concurrent_requests_of_one_account_get_one_coupon(strategy, own_partner):
    campaign = campaign_with(strategy=strategy, code_source="pool", codes=20, quantity=10)

    counted = raced(campaign, accounts(1) * 50)

    assert counted["new"] <= 1
    assert set(counted) <= {"new", "again", "unavailable"}, counted
    assert raced(campaign, [Coupon.objects.get().account_id] * 3) == {"again": 3}
    assert registered(own_partner) == issued()
    assert positions(campaign) == [1]


def test_of_two_requests_of_an_account_in_one_batch_the_first_alone_took_the_slot():
    """If both had, one that doesn't reach the partner would give back the slot that the other confirms."""
    campaign, [user_id] = campaign_with(), accounts(1)

    outcomes = allocated(campaign, user_id, user_id)

    assert [outcome.is_new for outcome in outcomes] == [True, False]
    assert len({outcome.code for outcome in outcomes}) == Confirmation.objects.count() == 1


def ask_until_settled(campaign_id: int, user_id: int) -> str:
    """Repeat the request after every temporary error; the final result is `new` or `sold_out`."""
    deadline, pause = time.monotonic() + 90, threading.Event()
    while time.monotonic() < deadline:
        try:
            outcome = issuing.issue(campaign_id=campaign_id, user_id=user_id)
            return "new" if outcome.is_new else "again"
        except FirstcomeError as error:
            if not isinstance(error, PartnerFailed) and error.retry_after is None:
                return error.code
        except OperationalError as error:
            # Over HTTP this is 503: the database is shared with other tests.
            assert transactions.is_lost(error) or transactions.is_conflict(error), error
        pause.wait(random.uniform(0.05, 0.4))
    return "never"


@by_each
def test_150_accounts_get_100_codes_with_a_partner_that_refuses_some(strategy, settings, tmp_path):
    """None lost, none twice, and the partner's book equals ours; the sweeper runs beside the requests."""
    settings.PARTNER_TIMEOUT_SECONDS = 0.5
    account_count, codes = 150, 100
    campaign = campaign_with(strategy=strategy, code_source="pool", codes=codes, quantity=codes)
    manners = ["--failure-rate", "0.1", "--late-rate", "0.02", "--silent-rate", "0.02", "--lost-rate", "0.02"]
    with partner_that(*manners, folder=tmp_path, settings=settings) as own:
        everyone = accounts(account_count)
        parts = [everyone[start::50] for start in range(50)]
        batches = [lambda ids=ids: [ask_until_settled(campaign.pk, id) for id in ids] for ids in parts]
        outcomes = race([*batches, *[_sweep_for_a_while] * 2], timeout=200)
        assert [repr(one) for one in outcomes if isinstance(one, BaseException)] == []
        counted = [word for some in outcomes[:50] for word in some]

        assert set(counted) <= {"new", "again", "sold_out"}, outcomes
        deadline = time.monotonic() + 30
        while Confirmation.objects.exists():
            assert time.monotonic() < deadline
            as_if_long_ago()
            confirmation.recover_due()
        while (campaign := reloaded(campaign)).issued < codes:
            assert ask_until_settled(campaign.pk, accounts(1)[0]) == "new"
        assert registered(own) == issued()
        refused = len(own.get("/registrations", status="refused")[1]["results"])
        assert refused > 0
        assert times_noted("coupon.not_confirmed") >= refused
    assert positions(campaign) == list(range(1, codes + 1))
    assert not PoolCode.objects.exclude(status="issued").exists()


def _sweep_for_a_while():
    pause = threading.Event()
    for _ in range(20):
        as_if_long_ago()
        confirmation.recover_due()
        pause.wait(0.1)


KEY = UUID("00000000-0000-7000-8000-000000000001")
CODE = "CODE"
REGISTRATION = {"id": "reg_1", "key": str(KEY), "code": CODE, "status": "registered", "asked": 1}
CALLS = {
    "register": lambda partner: partner.register(KEY, CODE),
    "find": lambda partner: partner.find(KEY),
    "cancel": lambda partner: partner.cancel(KEY),
}
INVALID = [
    (500, orjson.dumps(REGISTRATION)),
    (503, b""),
    (201, b"not json"),
    (200, b"[]"),
    (200, b"{}"),
    (404, orjson.dumps({"code": "not_found"})),
    (422, orjson.dumps({"code": "key_reused"})),
    (200, orjson.dumps(REGISTRATION | {"status": "perhaps"})),
    (201, orjson.dumps(REGISTRATION | {"key": str(uuid4())})),
    (201, orjson.dumps(REGISTRATION | {"code": "ANOTHER"})),
    (409, orjson.dumps(REGISTRATION)),
    (200, orjson.dumps({"results": [REGISTRATION | {"key": "another"}]})),
    (200, orjson.dumps({"results": [REGISTRATION, REGISTRATION]})),
    (302, b""),
]


def test_it_returns_the_state_of_a_key(settings, tmp_path):
    with partner_that(folder=tmp_path, settings=settings) as simulator:
        partner = ConvenienceStore(address(simulator), 2.0)
        key, other = uuid4(), uuid4()
        assert partner.find(key) is PartnerReply.UNKNOWN
        assert [partner.register(key, "A"), partner.find(key)] == [PartnerReply.REGISTERED] * 2
        assert [partner.register(other, "A"), partner.find(other)] == [PartnerReply.REFUSED] * 2
        assert partner.cancel(other) is PartnerReply.REFUSED
        assert [partner.cancel(key), partner.find(key), partner.register(key, "A")] == [
            PartnerReply.CANCELLED
        ] * 3
        late = uuid4()
        assert [partner.cancel(late), partner.register(late, "B")] == [PartnerReply.CANCELLED] * 2


def test_a_refused_connection_is_not_reached_and_a_time_out_is_no_answer():
    with socket.create_server((ports.HOST, 0)) as silent:
        cases = (ports.free(), 2.0, NotReached), (silent.getsockname()[1], 0.2, NoAnswer)
        for (port, seconds, error), call in itertools.product(cases, CALLS.values()):
            with pytest.raises(error):
                call(ConvenienceStore(f"http://{ports.HOST}:{port}", seconds))


def test_an_invalid_reply_is_no_answer():
    believed = []
    status, body = 0, b""
    with canned_shop.running() as server:
        server.answer, partner = lambda sent: Answer(status, body), ConvenienceStore(server.address, 2.0)
        for status, body in INVALID:
            for name, call in CALLS.items():
                with suppress(NoAnswer):
                    believed.append((name, status, body, call(partner)))
    assert believed == []


def test_no_partner_is_called_inside_a_transaction():
    with transaction.atomic(), pytest.raises(transaction.TransactionManagementError):
        ConvenienceStore("http://127.0.0.1:1", 1.0).find(KEY)


@pytest.mark.parametrize("web_threads", [4, 8, 16, 64])
def test_partners_leave_half_of_the_threads_that_run_calls(web_threads, settings):
    settings.WEB_THREADS = web_threads
    confirmation.reset()
    assert 1 <= confirmation._permits()._initial_value <= thread_pool.split_threads(web_threads).calling / 2
    confirmation.reset()
