"""Codes and `manage.py generate_codes`: the requested number, whole chunks when it is stopped."""

import json
import re
import signal
from datetime import UTC, datetime

import pytest
from django.core.management.base import CommandError
from hypothesis import given, strategies as st

from coupons.codes import codes
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from coupons.tests.laws import broken
from shop.tests.case_tables import in_one_test
from shop.tests.commands import run, run_json
from shop.tests.racing import wait_until
from shop.tests.second_process import another_process

GENERATE = """
from django.core.management import call_command
print("ready", flush=True)
call_command("generate_codes", *sys.argv[1:], "--json")
"""


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(code_source="pool")


@pytest.mark.django_db
def test_the_requested_number_of_codes_is_made_and_each_run_adds(campaign: Campaign) -> None:
    output = run_json("generate_codes", str(campaign.pk), "2500")

    assert output == (0, {"campaign": campaign.pk, "added": 2_500, "wanted": 2_500, "total": 2_500})
    made = set(campaign.pool.filter(status="available").values_list("code", flat=True))
    assert len(made) == 2_500
    assert all(codes.check_character(code[:-1]) == code[-1] for code in made)
    assert run("generate_codes", str(campaign.pk), "500") == (
        0,
        f"500 codes made for campaign {campaign.pk}; its pool has had 3,000 in all.\n",
    )
    assert broken() == {}


@pytest.mark.django_db
@in_one_test("count", ["0", "-5", "10000001"])
def test_a_count_that_makes_no_sense_is_refused(campaign: Campaign, count: str) -> None:
    output = rf"^{count} codes can't be made: give a number from 1 to 10,000,000\.$"
    with pytest.raises(CommandError, match=output):
        run("generate_codes", str(campaign.pk), count)
    assert not campaign.pool.exists()


@pytest.mark.django_db
def test_a_missing_campaign_is_reported() -> None:
    with pytest.raises(CommandError, match=r"^There is no campaign 12345\. 0 codes were made\.$"):
        run("generate_codes", "12345", "10")


@pytest.mark.boots("another process of the shop")
@pytest.mark.django_db(transaction=True)
def test_an_interrupt_ends_it_after_its_chunk_and_the_output_has_the_number(campaign: Campaign) -> None:
    with another_process(GENERATE, str(campaign.pk), "10000000") as process:
        wait_until(campaign.pool.exists, seconds=30)
        process.send_signal(signal.SIGINT)
        output = json.loads(process.communicate(timeout=30)[0])

    assert process.returncode == 130
    assert output["added"] == output["total"] == campaign.pool.count()
    assert 0 < output["added"] < output["wanted"] == 10_000_000
    assert broken() == {}


@pytest.mark.boots("another process of the shop")
@pytest.mark.django_db(transaction=True)
def test_a_kill_leaves_whole_chunks(campaign: Campaign) -> None:
    with another_process(GENERATE, str(campaign.pk), "10000000") as process:
        wait_until(campaign.pool.exists, seconds=30)
        process.kill()
        process.wait()

    def is_settled() -> bool:
        campaign.refresh_from_db()
        return campaign.codes_added == campaign.pool.count()

    wait_until(is_settled)
    assert campaign.codes_added % 1_000 == 0
    assert broken() == {}


HOUR_CHARACTERS = 2
BODY_CHARACTERS = HOUR_CHARACTERS + codes.RANDOM_CHARACTERS
NOON = 1_795_262_400  # 2026-11-21 12:00 UTC
bodies = st.text(codes.ALPHABET, min_size=BODY_CHARACTERS, max_size=BODY_CHARACTERS)


def test_codes_are_14_characters_of_crockfords_alphabet_and_differ() -> None:
    made = codes.make_several(10_000)

    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{14}", code) for code in made)
    assert len(set(made)) == 10_000
    assert all(codes.check_character(code[:-1]) == code[-1] for code in made)


def test_every_place_of_a_code_behind_the_hour_is_random() -> None:
    made = codes.make_several(2_000)

    for place in range(HOUR_CHARACTERS, BODY_CHARACTERS):
        assert {code[place] for code in made} == set(codes.ALPHABET)


def test_codes_of_an_hour_begin_alike_and_the_next_hours_sort_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [codes.hour_characters(NOON + seconds) for seconds in (0, 3_599, 3_600)]
    monkeypatch.setattr(codes.clock, "now", lambda: datetime.fromtimestamp(NOON + 60, UTC))

    made = codes.make_several(100)

    assert hours[0] == hours[1] < hours[2]
    assert {code[:HOUR_CHARACTERS] for code in made} == {hours[0]}


@given(bodies, st.integers(0, BODY_CHARACTERS - 1), st.sampled_from(codes.ALPHABET))
def test_one_wrong_character_never_passes(body: str, place: int, other: str) -> None:
    mistyped = body[:place] + other + body[place + 1 :]

    assert (codes.check_character(mistyped) == codes.check_character(body)) == (mistyped == body)
