"""Codes of a file in the admin: checked first, then added, any file twice."""

import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from uuid_utils.compat import uuid7

from coupons.codes import line_files, pool
from coupons.models import Campaign, PoolCode
from coupons.tests.factories import CampaignFactory, coupon_of
from coupons.tests.laws import broken
from shop.admin_base import uploads
from shop.models import JournalLine
from shop.tests.case_tables import in_one_test
from shop.tests.clients import signed_in
from shop.tests.confirming import confirmed, said, shown, to_confirm
from shop.tests.factories import SuperuserFactory
from shop.tests.second_process import another_process, read_line

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(code_source="pool")


def page_of(campaign: Campaign) -> str:
    return f"/admin/coupons/campaign/{campaign.pk}/upload_codes/"


def values(data: bytes, reason: str = "The printer's file.") -> dict[str, Any]:
    return {"file": SimpleUploadedFile("codes.csv", data), "reason": reason}


def upload(client: Client, campaign: Campaign, data: bytes, reason: str = "The printer's file.") -> Any:
    """The page after the confirmation, or the form with its errors."""
    answer = confirmed(client, page_of(campaign), **values(data, reason))
    return client.get(answer["Location"]) if answer.status_code == 302 else answer


def report_of(page: Any) -> str:
    [message] = page.context["messages"]
    return str(message)


def test_a_check_counts_and_names_and_writes_nothing(operator, campaign):
    other = CampaignFactory.create()
    borne = coupon_of(other).code
    pool.add(campaign_id=other.pk, codes=["THEIRS"])
    pool.add(campaign_id=campaign.pk, codes=["OURS"])
    page = shown(operator, page_of(campaign), **values(f"code\nNEW\nOURS\nTHEIRS\n{borne}\n".encode()))
    preview = page.context["preview"]
    assert preview.facts == [
        ("Codes", "4"),
        ("In this campaign's pool already: skipped", "1"),
        ("Taken by other campaigns: skipped", "2"),
        ("The first ones", f"NEW, OURS, THEIRS, {borne}"),
    ]
    assert preview.table["rows"] == [(4, "THEIRS"), (5, borne)]
    assert PoolCode.objects.count() == 2


def test_a_file_is_added_once_it_is_confirmed_and_codes_that_exist_are_skipped(operator, campaign, folder):
    CampaignFactory.create(codes=["THEIRS"])
    sent = to_confirm(operator, page_of(campaign), **values(b"NEW\nTHEIRS\nNEW\nnew\n"))
    added, again = (operator.get(operator.post(page_of(campaign), sent)["Location"]) for _ in range(2))
    assert report_of(added) == "2 added, 2 skipped, 2 in all."
    assert report_of(again) == f"This form was sent before; nothing was done again. {report_of(added)}"
    [line] = JournalLine.objects.filter(subject=f"campaign {campaign.pk}", what="campaign.codes_added")
    assert (line.actor_name, line.after, line.detail) == ("ada", {"codes": 2}, "The printer's file.")
    assert list(folder.iterdir()) == [], "a file that was used is gone"
    assert broken() == {}


def test_a_file_that_is_written_to_disk_while_it_arrives_is_added(operator, campaign, folder, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    assert report_of(upload(operator, campaign, b"code\nA1\nB2\n")) == "2 added, 0 skipped, 2 in all."
    assert list(folder.iterdir()) == []


@in_one_test("reason", ["", "  ", "x" * 256, "a\x00b", "a\x07b", "a\x1bb", "a\x7fb"])
def test_without_a_reason_that_can_be_kept_no_code_is_added(operator, campaign, reason):
    refused = upload(operator, campaign, b"A1\n", reason=reason)
    assert refused.context["form"].errors.keys() == {"reason"}
    assert not PoolCode.objects.exists()


def test_a_reason_in_the_address_is_not_read_and_one_in_korean_is_kept(operator, campaign):
    form = values(b"A1\n") | {"form_id": str(uuid7()), "reason": "", "confirmed": "yes"}
    assert operator.post(f"{page_of(campaign)}?reason=known+to+every+log", form).status_code == 200
    assert not PoolCode.objects.exists()
    upload(operator, campaign, b"A1\n", reason="인쇄소의\n파일 100%")
    assert JournalLine.objects.get(what="campaign.codes_added").detail == "인쇄소의\n파일 100%"


def test_nothing_of_a_file_with_a_bad_line_is_added_and_each_is_named(
    operator, campaign, folder, monkeypatch
):
    """Also behind the first lines that are read at once."""
    monkeypatch.setattr(line_files, "LINES_AT_ONCE", 2)
    refused = upload(operator, campaign, b"A1\n\nA2\n=1+1\nA3\n-4\n")
    problems = said(operator, refused)
    assert problems[0] == "Nothing can be added: 2 lines are bad. Correct them, and send them again."
    assert [problem.split(":")[0] for problem in problems[1:]] == ["Line 4", "Line 6"]
    assert not PoolCode.objects.exists()
    assert list(folder.iterdir()) == [], "nothing is kept of a file of which nothing can be confirmed"


@in_one_test("data", [b"", b"code\n", b"PK\x03\x04\x14\x00code\nA1\n"])
def test_a_file_without_codes_is_refused_in_words(operator, campaign, data):
    assert upload(operator, campaign, data).context["form"].errors
    assert not PoolCode.objects.exists()


def test_a_file_that_is_gone_is_asked_for_again_and_adds_nothing(operator, campaign, folder):
    sent = to_confirm(operator, page_of(campaign), **values(b"A1\n"))
    [kept] = folder.iterdir()
    assert kept.name.startswith(uploads.PREFIX)
    kept.unlink()
    assert "Upload it again" in operator.post(page_of(campaign), sent).content.decode()
    assert not PoolCode.objects.exists()


def test_codes_of_an_unknown_campaign_are_not_found(operator, campaign):
    campaign.pk = 10**9
    assert operator.get(page_of(campaign)).status_code == 404
    assert operator.post(page_of(campaign), values(b"A1\n")).status_code == 404


def test_a_file_without_the_csrf_token_is_refused(campaign):
    client = Client(enforce_csrf_checks=True)
    client.force_login(SuperuserFactory.create())
    sent = values(b"A1\n") | {"form_id": str(uuid7()), "confirmed": "yes"}
    assert client.post(page_of(campaign), sent).status_code == 403
    assert not PoolCode.objects.exists()


ADD_AND_STOP = """
from coupons.codes import pool

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

    codes = "".join(f"C{number}\n" for number in range(12_000))
    added = upload(signed_in(SuperuserFactory.create()), campaign, codes.encode())
    assert report_of(added) == "9000 added, 3000 skipped, 12000 in all."
    assert broken() == {}


def test_a_file_is_not_read_while_two_others_are(operator, campaign, folder):
    with ExitStack() as others:
        for _ in range(2):
            assert uploads.reading_slots.acquire(blocking=False)
            others.callback(uploads.reading_slots.release)
        refused = shown(operator, page_of(campaign), **values(b"A1\n"))
        assert "Other uploads are being processed" in refused.content.decode()
        assert len(list(folder.iterdir())) == 1, "the file is kept for the next attempt"
    assert report_of(upload(operator, campaign, b"A1\n")) == "1 added, 0 skipped, 1 in all."
