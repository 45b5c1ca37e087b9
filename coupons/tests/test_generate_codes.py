"""`manage.py generate_codes`: the requested number, whole chunks when it is stopped, one-line errors."""

import json
import signal

import pytest
from django.core.management.base import CommandError

from coupons import codes
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
