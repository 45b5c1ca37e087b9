"""Codes of a file in the admin: checked first, then added piece by piece, any piece twice."""

import signal
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.test import Client

from coupons import pool
from coupons.models import Campaign, PoolCode
from coupons.tests.factories import CampaignFactory, coupon_of
from coupons.tests.laws import broken
from shop.models import JournalLine
from shop.tests.case_tables import in_one_test
from shop.tests.clients import signed_in
from shop.tests.factories import SuperuserFactory
from shop.tests.second_process import another_process, read_line

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(code_source="pool")


def send(
    client: Client,
    campaign: Campaign,
    step: str,
    data: bytes,
    first_line: object = 1,
    *,
    reason: str = "The printer's file.",
) -> Any:
    address = f"/admin/coupons/campaign/{campaign.pk}/upload_codes/{step}/?"
    address += urlencode({"first_line": first_line})
    return client.post(address, data, content_type="text/csv", headers={"X-Reason": quote(reason)})


def test_a_check_counts_and_names_and_writes_nothing(operator, campaign):
    other = CampaignFactory.create()
    borne = coupon_of(other).code
    pool.add(campaign_id=other.pk, codes=["THEIRS"])
    pool.add(campaign_id=campaign.pk, codes=["OURS"])
    found = send(operator, campaign, "check", f"code\nNEW\nOURS\nTHEIRS\n{borne}\n=1+1\n".encode()).json()
    assert (found["codes"], found["in_pool"], found["first"]) == (4, 1, ["NEW", "OURS", "THEIRS", borne])
    assert found["elsewhere"] == [[4, "THEIRS"], [5, borne]]
    assert [(bad["line"], bad["code"]) for bad in found["bad"]] == [(6, "not_a_code")]
    assert PoolCode.objects.count() == 2


def test_a_piece_is_added_and_skipped_codes_are_listed_by_their_lines(operator, campaign):
    other = CampaignFactory.create()
    pool.add(campaign_id=other.pk, codes=["THEIRS"])
    added = send(operator, campaign, "add", b"NEW\nTHEIRS\nNEW\nnew\n", 4_001).json()
    assert added == {"added": 2, "total": 2, "in_pool": 1, "elsewhere": [[4_002, "THEIRS"]]}
    [line] = JournalLine.objects.filter(subject=f"campaign {campaign.pk}", what="campaign.codes_added")
    assert (line.actor_name, line.after, line.detail) == ("ada", {"codes": 2}, "The printer's file.")
    assert broken() == {}


@in_one_test("reason", ["", "  ", "x" * 256, "a\x00b", "a\x07b", "a\x1bb", "a\x7fb"])
def test_without_a_reason_that_can_be_kept_no_code_is_added(operator, campaign, reason):
    refused = send(operator, campaign, "add", b"A1\n", reason=reason)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "reason")
    assert not PoolCode.objects.exists()


def test_a_reason_in_the_address_is_not_read_and_one_in_korean_is_kept(operator, campaign):
    address = f"/admin/coupons/campaign/{campaign.pk}/upload_codes/add/?reason=known+to+every+log"
    assert operator.post(address, b"A1\n", content_type="text/csv").status_code == 400
    send(operator, campaign, "add", b"A1\n", reason="인쇄소의\n파일 100%")
    assert JournalLine.objects.get(what="campaign.codes_added").detail == "인쇄소의\n파일 100%"


def test_a_file_that_is_uploaded_twice_adds_its_codes_once(operator, campaign):
    data = "".join(f"C{number}\n" for number in range(2_500)).encode()
    first, second = (send(operator, campaign, "add", data).json() for _ in range(2))
    assert (first["added"], first["in_pool"]) == (2_500, 0)
    assert (second["added"], second["in_pool"], second["elsewhere"], second["total"]) == (0, 2_500, [], 2_500)
    assert broken() == {}


def test_nothing_of_a_piece_with_a_bad_line_is_added(operator, campaign):
    refused = send(operator, campaign, "add", b"A1\n=1+1\n", 10)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    assert "line 11" in refused.json()["detail"]
    assert not PoolCode.objects.exists()


@in_one_test("first_line", ["0", "-1", "many", "1.5", "9" * 30, "9" * 5_000, "\u0661"])
def test_a_piece_needs_the_number_of_its_first_line(operator, campaign, first_line):
    assert send(operator, campaign, "check", b"A1\n", first_line).status_code == 400


def test_codes_of_an_unknown_campaign_are_not_found(operator, campaign):
    campaign.pk = 10**9
    for step in ("check", "add"):
        assert send(operator, campaign, step, b"A1\n").json()["code"] == "not_found"


def test_a_piece_without_the_csrf_token_is_refused(campaign):
    client = Client(enforce_csrf_checks=True)
    client.force_login(SuperuserFactory.create())
    assert send(client, campaign, "add", b"A1\n").status_code == 403
    assert not PoolCode.objects.exists()


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nA1\r\n--x--',
            415,
        ),
        ("multipart/form-data", b"A1\n", 400),
        ("application/x-www-form-urlencoded", b"A1", 415),
        ("application/x-www-form-urlencoded; charset=utf-16", b"A1", 400),
    ],
    ids=["parts", "parts without a boundary", "fields", "fields in another encoding"],
)
def test_a_piece_that_is_sent_as_a_form_is_refused(campaign, content_type, body, status):
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(SuperuserFactory.create())
    page = f"/admin/coupons/campaign/{campaign.pk}/upload_codes/"
    client.get(page)
    headers = {"X-Reason": "The printer's file.", "X-CSRFToken": client.cookies["csrftoken"].value}
    for step in ("check", "add"):
        answer = client.post(f"{page}{step}/", body, content_type=content_type, headers=headers)
        assert answer.status_code == status, answer.content
    assert not PoolCode.objects.exists()


ADD_AND_STOP = """
from coupons import pool

first = pool._add_chunk

def add_chunk(campaign_id, codes, reason):
    skipped = first(campaign_id, codes, reason)
    if "C2999" in codes:
        print("ready", flush=True)
        sys.stdin.readline()
    return skipped

pool._add_chunk = add_chunk
pool.add(campaign_id=int(sys.argv[1]), codes=[f"C{number}" for number in range(10_000)])
"""


@pytest.mark.boots("another process of the shop")
@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_killed_in_the_middle_leaves_whole_chunks_and_the_repeat_completes_them():
    campaign = CampaignFactory.create(code_source="pool")
    with another_process(ADD_AND_STOP, str(campaign.pk)) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert read_line(process) == ""
    campaign.refresh_from_db()
    assert campaign.codes_added == PoolCode.objects.count() == 3_000
    assert broken() == {}

    client = signed_in(SuperuserFactory.create())
    answers = [
        send(client, campaign, "add", "".join(f"C{number}\n" for number in piece).encode()).json()
        for piece in (range(start, start + 4_000) for start in (0, 4_000, 8_000))
    ]
    assert [answer["added"] for answer in answers] == [1_000, 4_000, 4_000]
    assert [answer["in_pool"] for answer in answers] == [3_000, 0, 0]
    assert answers[-1]["total"] == 12_000
    assert broken() == {}
