"""Recovery of confirmations: killed or abandoned requests, partners that lose keys, late answers."""

import socket
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.db.models import F
from django.utils import timezone

from coupons import partners, tasks
from coupons.allocation import allocating
from coupons.models import Confirmation, PoolCode
from coupons.partners import confirmation
from coupons.partners.contract import PartnerReply
from coupons.partners.convenience_store import ConvenienceStore
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue, issue_calls, raced, refusal
from coupons.tests.own_partner import NAME, Killed, crash, issued, partner_that, registered, slot_of
from foundation.errors import Unavailable
from foundation.tests.instants import ago
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.samples import exposed
from foundation.tests.second_connection import holding_row
from foundation.tests.waiting import in_background, within
from scripts.stack import ports

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def campaign():
    return CampaignFactory(partner=NAME, code_source="pool", quantity=3, codes=3)


@pytest.fixture
def user_id():
    return accounts(1)[0]


def let_time_pass(seconds: float):
    """Date every slot back by so many seconds, and make it due for the sweeper."""
    due = ago(seconds=1)
    Confirmation.objects.update(taken_at=F("taken_at") - timedelta(seconds=seconds), next_attempt_at=due)


def sweep_later(seconds: float = 0) -> int:
    let_time_pass(seconds)
    return confirmation.recover_due()


def codes_by_status() -> Counter[str]:
    return Counter(PoolCode.objects.values_list("status", flat=True))


def test_the_slot_of_a_process_killed_before_the_partner_call_is_confirmed(campaign, user_id, own_partner):
    slot_of(campaign, user_id)
    assert registered(own_partner) == []
    assert codes_by_status() == {"available": 2, "in_flight": 1}
    assert broken() == {}

    row = Confirmation.objects.get()
    assert row.next_attempt_at - row.taken_at == timedelta(seconds=allocating.CALLER_LEASE_SECONDS)
    assert sweep_later() == 1

    assert count_outcomes([issue(campaign, user_id)]) == {"again": 1}
    assert registered(own_partner) == issued()


def test_a_process_killed_before_its_write_has_its_slot_confirmed(
    campaign, user_id, own_partner, monkeypatch
):
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(confirmation, "confirm", crash)
        issue(campaign, user_id)
    assert len(registered(own_partner)) == 1
    assert issued() == []

    # A repeat before the sweeper gets the coupon at once, by the same key.
    assert count_outcomes([issue(campaign, user_id)]) == {"new": 1}
    assert sweep_later() == 0
    assert registered(own_partner) == issued()
    assert own_partner.get("/registrations")[1]["results"][0]["asked"] == 2


def test_the_slot_of_a_process_killed_after_a_refusal_is_released(
    campaign, user_id, settings, tmp_path, monkeypatch
):
    with partner_that("--failure-rate", "1", folder=tmp_path, settings=settings):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(confirmation, "release_slot", crash)
            issue(campaign, user_id)
        assert codes_by_status() == {"available": 2, "in_flight": 1}
        assert sweep_later() == 1
    assert codes_by_status() == {"available": 3}
    assert not Confirmation.objects.exists()


def test_the_next_sweeper_continues_after_one_killed_between_marking_and_cancelling(
    campaign, user_id, own_partner, settings, monkeypatch
):
    slot = slot_of(campaign, user_id)
    let_time_pass(settings.PARTNER_GIVE_UP_SECONDS + 1)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(ConvenienceStore, "cancel", crash)
        confirmation.recover_due()
    assert Confirmation.objects.get().is_cancelled
    with pytest.raises(Unavailable):
        confirmation.ask_partner(slot)
    with pytest.raises(Unavailable):
        issue(campaign, user_id)

    # The first of them had called under a key that was being cancelled, and the partner has registered it.
    assert sweep_later() == 1
    assert (registered(own_partner), issued()) == ([], [])
    assert codes_by_status() == {"available": 3}
    assert count_outcomes([issue(campaign, user_id)]) == {"new": 1}
    assert registered(own_partner) == issued()


def test_slots_of_a_campaign_that_stays_locked_hold_up_no_others(campaign, own_partner, monkeypatch):
    """One of its slots waits for the lock, and its others are left to a later pass."""
    other = CampaignFactory(partner=NAME, quantity=3)
    for user_id in accounts(3):
        slot_of(campaign, user_id)
    slot_of(other, accounts(1)[0])
    attempted = []
    confirm = confirmation.confirm

    def noted(slot):
        attempted.append(slot.campaign_id)
        return confirm(slot)

    monkeypatch.setattr(confirmation, "confirm", noted)
    with holding_row(campaign):
        assert sweep_later() == 1
    assert (attempted.count(campaign.pk), attempted.count(other.pk)) == (1, 1)
    assert sweep_later() == 3
    assert registered(own_partner) == issued()


def test_a_registration_after_the_cancellation_is_rejected(campaign, user_id, own_partner, settings):
    slot = slot_of(campaign, user_id)
    assert sweep_later(settings.PARTNER_GIVE_UP_SECONDS + 1) == 1

    assert refusal(lambda: confirmation.ask_partner(slot)) == "partner_failed"
    assert (registered(own_partner), issued()) == ([], [])
    assert codes_by_status() == {"available": 3}


class Pausing:
    """The partner, whose answer to a registration is held back until the test releases it."""

    def __init__(self, partner):
        self.partner, self.cancel = partner, partner.cancel
        self.has_registered, self.may_answer = threading.Event(), threading.Event()

    def register(self, key: UUID, code: str) -> PartnerReply:
        said = self.partner.register(key, code)
        self.has_registered.set()
        assert self.may_answer.wait(20)
        return said

    def find(self, key: UUID) -> PartnerReply:
        return PartnerReply.UNKNOWN


@pytest.fixture
def pausing(own_partner, monkeypatch):
    partner = partners.named(NAME)
    assert partner
    slow = Pausing(partner)
    monkeypatch.setitem(partners.PARTNERS, NAME, lambda: slow)
    return slow


def test_confirming_a_cancelled_slot_makes_no_coupon(campaign, user_id, own_partner, settings, pausing):
    asking_for_it = in_background(issue_calls(campaign.pk, [user_id])[0])
    assert pausing.has_registered.wait(10)
    assert sweep_later(settings.PARTNER_GIVE_UP_SECONDS + 1) == 1
    pausing.may_answer.set()

    assert refusal(lambda: asking_for_it.result(timeout=20)) == "partner_failed"
    assert (registered(own_partner), issued()) == ([], [])


def test_cancelling_at_the_partner_first_would_leave_a_coupon_that_it_does_not_know(
    campaign, user_id, own_partner, pausing
):
    """The twin: the key is cancelled at the partner first, and a crash comes before that is committed."""
    asking_for_it = in_background(issue_calls(campaign.pk, [user_id])[0])
    assert pausing.has_registered.wait(10)
    assert pausing.cancel(Confirmation.objects.get().key) is PartnerReply.CANCELLED
    pausing.may_answer.set()

    assert asking_for_it.result(timeout=20).is_new
    assert registered(own_partner) != issued()


def test_a_key_unknown_to_the_partner_is_registered_by_the_sweeper(campaign, user_id, settings, tmp_path):
    with partner_that("--lost-rate", "1", folder=tmp_path, settings=settings) as losing:
        settings.PARTNER_TIMEOUT_SECONDS = 0.3
        assert raced(campaign, [user_id]) == {"unavailable": 1}
        assert sweep_later() == 0
        assert registered(losing) == []
    with partner_that(folder=tmp_path, settings=settings) as mended:
        assert sweep_later() == 1
        assert registered(mended) == issued() != []
    assert positions(campaign) == [1]


def test_concurrent_requests_and_sweepers_make_one_coupon_of_each_slot(own_partner):
    campaign = CampaignFactory(partner=NAME, code_source="pool", quantity=40, codes=40)
    everyone = accounts(40)
    taken = [slot_of(campaign, user_id) for user_id in everyone]
    let_time_pass(0)

    outcomes = race([*issue_calls(campaign.pk, everyone * 2), *[confirmation.recover_due] * 4])

    counted = count_outcomes(outcomes[:80])
    assert set(counted) <= {"new", "again", "unavailable"}, counted
    assert counted["new"] + sum(outcomes[80:]) >= 40
    sweep_later()
    assert len(taken) == 40
    assert positions(campaign) == list(range(1, 41))
    assert registered(own_partner) == issued()


def test_an_unavailable_partner_costs_a_sweep_little_and_no_account_its_slot(own_partner, settings):
    campaign = CampaignFactory(partner=NAME, quantity=200)
    assert len(race_each(lambda id: slot_of(campaign, id), accounts(200))) == 200
    with hanging_partner(settings):
        let_time_pass(settings.PARTNER_GIVE_UP_SECONDS + 1)
        with within(confirmation.PASS_SECONDS + 5):
            assert tasks.sweep() == 0
        assert not Confirmation.objects.filter(is_cancelled=True).exists()
        assert not Confirmation.objects.filter(attempts=0).exists()
        assert confirmation.recover_due() == 0, "nothing is due"
    confirmation.reset()
    Confirmation.objects.update(taken_at=timezone.now())
    # A pass ends after some seconds, in which a slow machine leaves a few to the next one.
    assert sweep_later() + sweep_later(1) == 200
    assert registered(own_partner) == issued()


def test_a_hanging_partner_blocks_few_threads_and_those_not_for_long(own_partner, settings):
    """60 concurrent requests, 3 permits: each is answered within the time-out and the wait for a permit."""
    settings.WEB_THREADS, settings.PARTNER_TIMEOUT_SECONDS = 8, 0.5
    confirmation.reset()
    campaign = CampaignFactory(partner=NAME, quantity=100)
    with hanging_partner(settings) as connected:
        with within(10):
            assert set(raced(campaign, accounts(60))) <= {"unavailable", "partner_failed"}
        # A call that has just timed out may still be counted beside the next; without a limit it would be 60.
        assert connected() <= 2 * 3


def test_during_the_trial_call_to_a_partner_no_other_request_takes_a_slot(own_partner, settings):
    campaign = CampaignFactory(partner=NAME, quantity=100)
    with hanging_partner(settings):
        settings.PARTNER_TIMEOUT_SECONDS = 0.2
        race(issue_calls(campaign.pk, accounts(confirmation.FAILURES)))
        assert confirmation.is_unavailable(NAME)
        wait_until(lambda: not confirmation.is_unavailable(NAME))
        settings.PARTNER_TIMEOUT_SECONDS = 10.0
        trying = in_background(issue_calls(campaign.pk, accounts(1))[0])
        wait_until(lambda: Confirmation.objects.count() == confirmation.FAILURES + 1)
        wait_until(lambda: confirmation.is_unavailable(NAME), seconds=5)

        assert raced(campaign, accounts(20)) == {"unavailable": 20}

        assert Confirmation.objects.count() == confirmation.FAILURES + 1
        settings.PARTNER_TIMEOUT_SECONDS = 0.2
    assert isinstance(trying.exception(20), Unavailable)


@contextmanager
def hanging_partner(settings: LazySettings):
    """A partner that accepts connections and never answers. Yields how many it had at once, at most."""
    there = settings.PARTNER_URL
    with socket.create_server((ports.HOST, 0), backlog=1_000) as server:
        settings.PARTNER_URL = f"http://{ports.HOST}:{server.getsockname()[1]}"
        open_now: set[socket.socket] = set()
        most = [0]

        def serve():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                open_now.add(client)
                most[0] = max(most[0], len(open_now))
                threading.Thread(target=keep, args=[client], daemon=True).start()

        def keep(client):
            # The shop may end the connection by a reset after its time-out.
            with client, suppress(OSError):
                while client.recv(4096):
                    pass
            open_now.discard(client)

        threading.Thread(target=serve, daemon=True).start()
        yield lambda: most[0]
        server.shutdown(socket.SHUT_RDWR)
    settings.PARTNER_URL = there
    confirmation.reset()


def test_metrics_have_the_number_and_age_of_open_confirmations(campaign, user_id, own_partner):
    slot_of(campaign, user_id)
    let_time_pass(100)

    assert exposed()["firstcome_coupons_confirming"] == 1
    assert 100 <= exposed()["firstcome_coupons_confirming_oldest_seconds"] < 200


def test_a_sweeper_that_fails_does_not_stop_the_others(monkeypatch):
    swept = []

    def failing():
        raise ValueError("a campaign that can't be healed")

    def working():
        return swept.append("working") or 3

    monkeypatch.setattr(tasks, "SWEEPERS", [working, failing, working])
    with pytest.raises(ValueError, match="a campaign that can't be healed"):
        tasks.sweep()

    assert swept == ["working", "working"]
