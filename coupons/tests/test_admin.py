"""Admin pages of campaigns, coupons, pool codes and listed accounts, and the files that they take."""

import signal
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from coupons import campaigns
from coupons.admin import adding
from coupons.codes import eligible_accounts, line_files, pool
from coupons.models import Campaign, Coupon, EligibleAccount, PoolCode
from coupons.tests.factories import CampaignFactory, accounts, coupon_of
from coupons.tests.laws import broken
from coupons.tests.outcomes import issue
from foundation import clock
from foundation.admin_base import uploads
from foundation.admin_base.forms import SENT_BEFORE
from foundation.models import JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.confirming import confirmed, done, said, shown, to_confirm
from foundation.tests.factories import AccountFactory, SuperuserFactory
from foundation.tests.journal_lines import journal_line
from foundation.tests.second_process import another_process, read_line
from foundation.tests.sent_forms import fields_of

pytestmark = pytest.mark.django_db
WHY = "It was announced so."
TIMES = {"opens_at": "2026-01-01T00:00:00", "closes_at": ""}
DISCOUNT = {"discount_type": "amount", "discount_value": 1_000, "max_discount_amount": ""}
LISTS = ("list_accounts", "upload_accounts")
POOLS = ("add_codes", "upload_codes")
TERMS = {"strategy": "group_commit", "quantity": 10, "code_source": "generated", "eligible": "all"}


def new_form() -> dict[str, Any]:
    named = {"name": "Drop", "form_id": str(uuid7()), "min_order_amount": 0, "coupon_valid_for_days": 30}
    return TERMS | TIMES | DISCOUNT | named


def page_of(campaign: Campaign, action="change") -> str:
    return f"/admin/coupons/campaign/{campaign.pk}/{action}/"


def messages(client: Client, page: str) -> str:
    return client.get(page).text


def press(client: Client, row: Campaign | Coupon, name: str, /, **asked):
    path = f"/admin/coupons/{row._meta.model_name}/{row.pk}/{name}/"
    sent = {"form_id": str(uuid7())} | asked
    return client.post(path, sent | {"reason": asked.get("reason") or WHY})


def add_codes(client: Client, campaign: Campaign, **asked):
    return confirmed(client, page_of(campaign, "add_codes"), **{"reason": WHY} | asked)


def test_a_campaign_is_added(operator):
    response = operator.post("/admin/coupons/campaign/add/", new_form() | {"issued": 5})

    campaign = Campaign.objects.get()
    assert response.status_code == 302
    assert (campaign.name, campaign.quantity, campaign.issued, campaign.partner) == ("Drop", 10, 0, "")
    assert LogEntry.objects.get().object_id == str(campaign.pk)


def test_a_campaign_without_a_quantity_is_for_everybody_unless_its_strategy_needs_one(operator):
    page = "/admin/coupons/campaign/add/"
    operator.post(page, new_form() | {"quantity": "", "strategy": "queue"})
    assert "For everybody the strategy must be one of" in messages(operator, page)
    assert not Campaign.objects.exists()

    assert operator.post(page, new_form() | {"quantity": ""}).status_code == 302

    assert Campaign.objects.get().quantity is None


def test_saving_a_campaign_leaves_alone_what_was_issued_since_its_page_was_opened(operator, monkeypatch):
    """Django's own save writes every column, and so the count as the page had read it."""
    campaign = CampaignFactory()
    owner = AccountFactory()
    clean = Campaign.full_clean

    def issued_meanwhile(self, *args, **kwargs):
        issue(campaign, owner.pk)
        clean(self, *args, **kwargs)

    monkeypatch.setattr(Campaign, "full_clean", issued_meanwhile)
    changed = {"name": "Better", "quantity": "50", "opens_at": "2025-01-01T00:00:00", "reason": WHY}
    form = fields_of(messages(operator, page_of(campaign)), **changed)
    assert operator.post(page_of(campaign), form).status_code == 302

    campaign.refresh_from_db()
    assert (campaign.name, campaign.quantity, campaign.issued) == ("Better", 50, 1)


def test_a_refusal_of_the_domain_is_shown_and_nothing_is_saved(operator, monkeypatch):
    """Two coupons are issued between the page's checks and its save."""
    campaign = CampaignFactory()
    clean = Campaign.full_clean
    opened = fields_of(messages(operator, page_of(campaign)), reason=WHY)

    def issued_afterwards(self, *args, **kwargs):
        clean(self, *args, **kwargs)
        coupon_of(campaign)
        coupon_of(campaign)

    monkeypatch.setattr(Campaign, "full_clean", issued_afterwards)
    assert operator.post(page_of(campaign), opened | {"quantity": "1"})["Location"] == page_of(campaign)
    assert "2 coupons are issued already" in messages(operator, page_of(campaign))
    campaign.refresh_from_db()
    assert campaign.quantity == 100


def test_a_refused_page_shows_what_is_stored_and_names_what_is_missing(operator):
    """It showed 144 left of a quantity that was typed, and not saved."""
    campaign = CampaignFactory(name="Drop", quantity=100)
    form = fields_of(messages(operator, page_of(campaign)), quantity="150", name="Other")

    refused = operator.post(page_of(campaign), form)

    page = lxml.html.fromstring(refused.text)
    [head] = page.xpath("//section[contains(@class, 'fc-head')]")
    [missing] = page.xpath("//*[contains(@class, 'errornote')]//a")
    assert "100 left" in head.text_content() and "150 left" not in refused.text
    assert (missing.text_content(), missing.get("href")) == ("Reason is missing.", "#id_reason")
    assert page.get_element_by_id("id_quantity").value == "150"
    assert Campaign.objects.get().quantity == 100


def test_a_campaigns_page_has_the_buttons_that_apply(operator):
    def buttons(**columns: Any) -> set[str]:
        page = lxml.html.fromstring(messages(operator, page_of(CampaignFactory(**columns))))
        links = page.xpath("//ul[contains(@class, 'fc-actions')]//a/@href")
        return {link.split("/")[-2] for link in links} & {"raise_quantity", *POOLS, *LISTS}

    worth = {"discount_type": "percent", "discount_value": 10, "max_discount_amount": 5_000}
    page = messages(operator, page_of(CampaignFactory(**worth, min_order_amount=30_000)))
    assert "10 % off, at most 5,000 KRW · from 30,000 KRW" in page
    assert buttons() == {"raise_quantity"}
    assert buttons(quantity=None) == set()
    assert buttons(code_source="pool") == {"raise_quantity", *POOLS}
    assert buttons(eligible="listed") == {"raise_quantity", *LISTS}


def test_the_quantity_is_raised_with_a_reason_and_never_lowered(operator):
    campaign = CampaignFactory(quantity=100)

    raised = press(operator, campaign, "raise_quantity", quantity=150)
    refused = press(operator, campaign, "raise_quantity", quantity=120)

    assert raised["Location"] == page_of(campaign)
    assert "The quantity is 150 already" in refused.text
    campaign.refresh_from_db()
    assert (campaign.quantity, journal_line("campaign.changed").detail) == (150, WHY)


def test_templates_open_tomorrow_at_ten_and_set_no_quantity_of_a_pool(operator):
    def fields(template: str) -> dict[str, str]:
        return fields_of(messages(operator, f"/admin/coupons/campaign/add/?template={template}"))

    opens_at = clock.day_bounds(clock.today())[1] + timedelta(hours=10)
    for template in ("percent", "amount", "drop", "pool"):
        assert fields(template)["opens_at"] == f"{opens_at:%Y-%m-%dT%H:%M}"
    assert fields("pool")["quantity"] == ""
    needed = "How many of the codes buyers may get at most."
    assert needed in messages(operator, "/admin/coupons/campaign/add/?template=pool")
    refused = operator.post("/admin/coupons/campaign/add/", fields("pool") | {"name": "Partner"})
    assert needed in refused.text
    assert not Campaign.objects.exists()


def test_a_refused_action_names_each_missing_field(operator):
    campaign = CampaignFactory(scheduled=True)
    page = lxml.html.fromstring(operator.post(page_of(campaign, "duplicate"), {"form_id": str(uuid7())}).text)
    missing = [link.text_content() for link in page.xpath("//*[contains(@class, 'errornote')]//a")]
    assert missing == ["Name is missing.", "Opens at (UTC) is missing.", "Reason is missing."]


def test_codes_are_added_or_generated(operator):
    campaign = CampaignFactory(code_source="pool")

    assert add_codes(operator, campaign, codes="ONE\r\nTWO ONE")["Location"] == page_of(campaign)
    assert "Added: 2. Skipped: 1. In all: 2." in messages(operator, page_of(campaign))
    add_codes(operator, campaign, count=3)
    assert PoolCode.objects.count() == 5
    for wrong in ({}, {"codes": "A", "count": 1}, {"codes": "a/b"}, {"count": 0}, {"count": 1, "reason": ""}):
        assert add_codes(operator, campaign, **wrong).status_code == 200
    assert PoolCode.objects.count() == 5


def test_a_coupon_is_voided_with_a_reason_and_its_operator_is_recorded(operator):
    coupon = coupon_of(CampaignFactory())

    response = press(operator, coupon, "void", reason="A mistake.")

    row = Coupon.objects.get()
    assert response["Location"] == f"/admin/coupons/coupon/{coupon.pk}/change/"
    assert (row.status, row.void_reason) == ("void", "A mistake.")
    assert "A mistake." in LogEntry.objects.get(object_id=str(coupon.pk)).change_message
    line = journal_line("coupon.void")
    assert (line.actor, line.actor_name, line.detail) == ("staff", "ada", "A mistake.")
    assert (line.before, line.after) == ({"status": "issued"}, {"status": "void"})


def test_coupons_tickets_and_codes_are_not_added(operator):
    for model in ("coupon", "queueticket", "poolcode"):
        assert operator.get(f"/admin/coupons/{model}/add/").status_code == 403


def test_a_campaign_is_duplicated_and_scheduled_by_its_buttons(operator):
    campaign = CampaignFactory(name="Spring", closes_at=None)
    press(operator, campaign, "duplicate", name="Summer", opens_at="2099-06-01T00:00", closes_at="")
    copy = Campaign.objects.latest("pk")
    assert (copy.name, copy.opens_at.isoformat()) == ("Summer", "2099-06-01T00:00:00+00:00")
    times = {"opens_at": "2099-07-01T00:00:00", "closes_at": "2099-07-02T00:00:00"}
    opened = messages(operator, page_of(copy, "schedule"))
    assert press(operator, copy, "schedule", **fields_of(opened, **times))["Location"] == page_of(copy)
    copy.refresh_from_db()
    assert (copy.opens_at.month, copy.closes_at and copy.closes_at.day) == (7, 2)
    press(operator, copy, "duplicate", name="Past", opens_at="2001-01-01T00:00", closes_at="")
    assert Campaign.objects.count() == 2


def test_a_schedule_that_was_opened_before_another_operator_changed_it_reverts_nothing(operator):
    campaign = CampaignFactory(scheduled=True, closes_at=None)
    opened = messages(operator, page_of(campaign, "schedule"))
    later = campaign.opens_at + timedelta(days=5)
    campaigns.schedule(campaign_id=campaign.pk, opens_at=later, closes_at=None)

    press(operator, campaign, "schedule", **fields_of(opened, closes_at="2099-07-01T00:00:00"))
    campaign.refresh_from_db()
    assert (campaign.opens_at, campaign.closes_at.isoformat()) == (later, "2099-07-01T00:00:00+00:00")

    both = press(operator, campaign, "schedule", **fields_of(opened, opens_at="2098-07-01T00:00:00"))
    assert "This was changed since the page was opened. Open the page again." in both.text
    campaign.refresh_from_db()
    assert campaign.opens_at == later


def test_a_campaigns_page_that_was_opened_before_another_operator_changed_it_reverts_nothing(operator):
    campaign = CampaignFactory(scheduled=True, quantity=100)
    opened = messages(operator, page_of(campaign))
    later = campaign.opens_at + timedelta(days=5)
    campaigns.change(campaign_id=campaign.pk, quantity=500, opens_at=later)

    assert operator.post(page_of(campaign), fields_of(opened, name="Better", reason=WHY)).status_code == 302
    campaign.refresh_from_db()
    assert (campaign.name, campaign.quantity, campaign.opens_at) == ("Better", 500, later)

    both = operator.post(page_of(campaign), fields_of(opened, quantity="200", reason=WHY))
    assert "This was changed since the page was opened. Open the page again." in both.text
    campaign.refresh_from_db()
    assert campaign.quantity == 500


def test_a_campaign_whose_form_is_sent_twice_is_created_once(operator):
    page = messages(operator, "/admin/coupons/campaign/add/?template=percent")
    form = fields_of(page, name="Drop", opens_at="2099-01-01T00:00:00")
    for _ in range(2):
        sent = operator.post("/admin/coupons/campaign/add/", form)
        assert sent.status_code == 302, sent.context["adminform"].form.errors
    assert str(SENT_BEFORE) in messages(operator, "/admin/coupons/campaign/")
    operator.post("/admin/coupons/campaign/add/", form | {"name": "Other"})
    assert "This form was sent before, with other values" in messages(operator, "/admin/coupons/campaign/")
    assert Campaign.objects.count() == 1


def test_a_campaign_is_duplicated_once_however_often_the_form_is_sent(operator):
    campaign = CampaignFactory(name="Spring")
    form = fields_of(messages(operator, page_of(campaign, "duplicate")), opens_at="2099-06-01T00:00")
    first, second = (press(operator, campaign, "duplicate", **form) for _ in range(2))
    copy = Campaign.objects.get(name="Spring (copy)")
    assert first["Location"] == second["Location"] == page_of(copy)
    assert str(SENT_BEFORE) in messages(operator, page_of(copy))


def test_codes_are_generated_once_however_often_the_form_is_sent(operator):
    campaign = CampaignFactory(code_source="pool")
    form = to_confirm(operator, page_of(campaign, "add_codes"), count=1_500, reason=WHY)
    assert not PoolCode.objects.exists()
    for _ in range(2):
        operator.post(page_of(campaign, "add_codes"), form)
    assert PoolCode.objects.count() == 1_500
    assert f"{SENT_BEFORE} Added: 1,500. Skipped: 0. In all: 1,500." in messages(operator, page_of(campaign))


@pytest.fixture
def listed():
    return CampaignFactory(eligible="listed")


def test_a_file_is_checked_and_then_added_and_any_file_twice(operator, listed):
    first, second = accounts(2)
    page, data = page_of(listed, "upload_accounts"), f"user\r\n{first}\r\n{second}\r\n".encode()

    checked = shown(operator, page, **values(data, "Members.")).context["preview"]
    assert not EligibleAccount.objects.exists()
    added, again = (done(operator, page, **values(data, "Members.")) for _ in range(2))

    known, names = ("On the list already: skipped", "0"), ("The first ones", f"{first}, {second}")
    assert checked.facts[:3] == [("Accounts", "2"), known, names]
    assert (added, again) == (["Added: 2. Skipped: 0. In all: 2."], ["Added: 0. Skipped: 2. In all: 2."])
    [line] = JournalLine.objects.filter(what="campaign.accounts_listed")
    assert (line.actor_name, line.detail) == ("ada", "Members.")
    assert line.after == {"accounts": 2, "ids": sorted([first, second])}


def test_a_confirmed_form_is_checked_all_the_same(operator, listed):
    [known] = accounts(1)
    page = page_of(listed, "list_accounts")
    sent = to_confirm(operator, page, change="add", accounts=str(known), reason="Members.")
    refused = operator.post(page, sent | {"accounts": f"{known} eve"})
    assert "Nothing was added" in said(operator, refused)[0]
    assert not EligibleAccount.objects.exists()


def test_accounts_are_added_and_removed_on_a_page_after_a_question(operator, listed):
    first, second = accounts(2)
    page = page_of(listed, "list_accounts")

    User.objects.filter(pk=first).update(email="First@example.com")
    added = {"change": "add", "reason": "Members."}
    for entered in (f"{first}\n{second}", f"first@example.com, {User.objects.get(pk=second)} {second}"):
        preview = shown(operator, page, **added, accounts=entered).context["preview"]
        names = ", ".join(str(User.objects.get(pk=pk)) for pk in (first, second))
        assert (preview.question, preview.facts[-1][1]) == ("Add 2 accounts?", names)
    confirmed(operator, page, **added, accounts=entered)
    assert eligible_accounts.listed(campaign_id=listed.pk, account_ids=[first, second]) == {first, second}
    confirmed(operator, page, change="remove", accounts=f"{first}", reason="Left.")

    assert eligible_accounts.listed(campaign_id=listed.pk, account_ids=[first, second]) == {second}
    assert journal_line("campaign.accounts_unlisted").detail == "Left."
    for wrong in ("ada", "999999999", ""):
        sent = {"change": "add", "accounts": wrong, "reason": "Members."}
        assert operator.post(page, sent).status_code == 200
    assert EligibleAccount.objects.count() == 1


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def campaign():
    return CampaignFactory(code_source="pool")


upload_page = partial(page_of, action="upload_codes")


def values(data: bytes, reason="The printer's file.") -> dict[str, Any]:
    return {"file": SimpleUploadedFile("codes.csv", data), "reason": reason}


def upload(client: Client, campaign: Campaign, data: bytes) -> list[str]:
    """What the operator reads who confirms the file, or why it is refused."""
    return done(client, upload_page(campaign), **values(data))


def test_a_check_counts_and_names_and_writes_nothing(operator, campaign):
    other = CampaignFactory()
    borne = coupon_of(other).code
    pool.add(campaign_id=other.pk, codes=["THEIRS"])
    pool.add(campaign_id=campaign.pk, codes=["OURS"])
    page = shown(operator, upload_page(campaign), **values(f"code\nNEW\nOURS\nTHEIRS\n{borne}\n".encode()))
    preview = page.context["preview"]
    skipped = {"Already in this campaign: skipped": "1", "Used by other campaigns: skipped": "2"}
    first = ("The first ones", f"NEW, OURS, THEIRS, {borne}")
    assert preview.facts == [("Codes", "4"), *skipped.items(), first]
    assert preview.table["rows"] == [(4, "THEIRS"), (5, borne)]
    assert PoolCode.objects.count() == 2


def test_a_file_is_added_once_it_is_confirmed_and_codes_that_exist_are_skipped(operator, campaign, folder):
    CampaignFactory(codes=["THEIRS"])
    sent = to_confirm(operator, upload_page(campaign), **values(b"NEW\nTHEIRS\nNEW\nnew\n"))
    [added], [again] = (said(operator, operator.post(upload_page(campaign), sent)) for _ in range(2))
    assert added == "Added: 2. Skipped: 2. In all: 2."
    assert again == f"This form was sent before; nothing was done again. {added}"
    [line] = JournalLine.objects.filter(subject=f"campaign {campaign.pk}", what="campaign.codes_added")
    assert (line.actor_name, line.after, line.detail) == ("ada", {"codes": 2}, "The printer's file.")
    assert list(folder.iterdir()) == [], "a file that was used is gone"


def test_a_file_that_is_written_to_disk_while_it_arrives_is_added(operator, campaign, folder, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    assert upload(operator, campaign, b"code\nA1\nB2\n") == ["Added: 2. Skipped: 0. In all: 2."]
    assert list(folder.iterdir()) == []


@in_one_test("reason", ["", "  ", "x" * 256, "a\x00b", "a\x07b", "a\x1bb", "a\x7fb"])
def test_without_a_reason_that_can_be_kept_no_code_is_added(operator, campaign, reason):
    refused = confirmed(operator, upload_page(campaign), **values(b"A1\n", reason))
    assert refused.context["form"].errors.keys() == {"reason"}
    assert not PoolCode.objects.exists()


def test_a_reason_in_the_address_is_not_read_and_one_in_korean_is_kept(operator, campaign):
    form = values(b"A1\n") | {"form_id": str(uuid7()), "reason": "", "confirmed": "yes"}
    assert operator.post(f"{upload_page(campaign)}?reason=known+to+every+log", form).status_code == 200
    assert not PoolCode.objects.exists()
    confirmed(operator, upload_page(campaign), **values(b"A1\n", "인쇄소의\n파일 100%"))
    assert journal_line("campaign.codes_added").detail == "인쇄소의\n파일 100%"


def test_nothing_of_a_file_with_bad_lines_is_added_and_each_is_named(operator, campaign, folder, monkeypatch):
    """Also behind the first lines that are read at once."""
    monkeypatch.setattr(line_files, "LINES_AT_ONCE", 2)
    problems = upload(operator, campaign, b"A1\n\nA2\n=1+1\nA3\n-4\n")
    assert problems[0] == "Nothing was added. Wrong lines: 2. Correct them, then try again."
    assert [problem.split(":")[0] for problem in problems[1:]] == ["Line 4", "Line 6"]
    assert not PoolCode.objects.exists()
    assert list(folder.iterdir()) == [], "nothing is kept of a file of which nothing can be confirmed"


def test_the_column_of_a_file_that_doesn_t_show_it_is_asked_for_and_the_file_is_kept(operator, campaign):
    data = b"AX7-33KQ,BX7-91MN\nCX7-33KQ,DX7-91MN\n"

    asked = shown(operator, upload_page(campaign), **values(data, reason=""))
    sent = fields_of(asked.text, reason="")
    asked = operator.post(upload_page(campaign), sent | {"reason": "The printer's file."})
    choices = asked.context["form"].fields["column"].widget.choices
    added = confirmed_again(operator, campaign, fields_of(asked.text, column="1"))

    assert choices == [("", "Choose"), (0, "AX7-33KQ, CX7-33KQ"), (1, "BX7-91MN, DX7-91MN")]
    assert "The file is kept." in asked.text
    assert added == ["Added: 2. Skipped: 0. In all: 2."]
    assert set(PoolCode.objects.values_list("code", flat=True)) == {"BX7-91MN", "DX7-91MN"}


def confirmed_again(client: Client, campaign: Campaign, form: dict[str, str]) -> list[str]:
    preview = client.post(upload_page(campaign), form)
    sent = dict(preview.context["hidden"]) | {"confirmed": "yes"}
    return said(client, client.post(upload_page(campaign), sent))


def test_the_right_lines_beside_wrong_ones_are_added_without_those(operator, campaign):
    kept = shown(operator, upload_page(campaign), **values(b"A1\na/b\nB2\n")).context["kept"]
    form = operator.post(kept["address"], {kept["name"]: kept["text"]}).context["form"]
    sent = {"codes": form["codes"].value(), "reason": "The printer's file."}
    assert (kept["submit"], kept["text"]) == ("Add the 2 good lines", "A1\nB2")
    assert done(operator, kept["address"], **sent) == ["Added: 2. Skipped: 0. In all: 2."]


def test_of_many_bad_lines_the_first_five_are_named(operator, campaign):
    problems = upload(operator, campaign, b"A1\n" + b"a/b\n" * 17)
    named = [problem.split(":")[0] for problem in problems[1:]]
    assert named == [*(f"Line {number}" for number in range(2, 7)), "and 12 more"]


def test_the_sample_file_of_codes_is_read(campaign):
    with Path(str(finders.find(adding.SAMPLE))).open("rb") as file:
        [piece] = line_files.pieces(file, kind=line_files.CODES)
    assert (len(piece.lines), piece.errors) == (2, [])


@in_one_test("data", [b"", b"code\n", b"PK\x03\x04\x14\x00code\nA1\n"])
def test_a_file_without_codes_is_refused_in_words(operator, campaign, data):
    assert confirmed(operator, upload_page(campaign), **values(data)).context["form"].errors
    assert not PoolCode.objects.exists()


def test_a_file_that_is_gone_is_asked_for_again_and_adds_nothing(operator, campaign, folder):
    sent = to_confirm(operator, upload_page(campaign), **values(b"A1\n"))
    [kept] = folder.iterdir()
    assert kept.name.startswith(uploads.PREFIX)
    kept.unlink()
    assert "Upload it again" in operator.post(upload_page(campaign), sent).text
    assert not PoolCode.objects.exists()


def test_codes_of_an_unknown_campaign_are_not_found(operator, campaign):
    campaign.pk = 10**9
    assert operator.get(upload_page(campaign)).status_code == 404
    assert operator.post(upload_page(campaign), values(b"A1\n")).status_code == 404


def test_a_file_without_the_csrf_token_is_refused(campaign):
    client = Client(enforce_csrf_checks=True)
    client.force_login(SuperuserFactory())
    sent = values(b"A1\n") | {"form_id": str(uuid7()), "confirmed": "yes"}
    assert client.post(upload_page(campaign), sent).status_code == 403
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
    campaign = CampaignFactory(code_source="pool")
    with another_process(ADD_AND_STOP, str(campaign.pk)) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert read_line(process) == ""
    campaign.refresh_from_db()
    assert campaign.codes_added == PoolCode.objects.count() == 3_000
    assert broken() == {}

    codes = "".join(f"C{number}\n" for number in range(12_000))
    added = upload(signed_in(SuperuserFactory()), campaign, codes.encode())
    assert added == ["Added: 9,000. Skipped: 3,000. In all: 12,000."]


def test_a_file_is_not_read_while_two_others_are(operator, campaign, folder):
    with ExitStack() as others:
        for _ in range(2):
            assert uploads.reading_slots.acquire(blocking=False)
            others.callback(uploads.reading_slots.release)
        refused = shown(operator, upload_page(campaign), **values(b"A1\n"))
        assert "Other uploads are being processed" in refused.text
        assert len(list(folder.iterdir())) == 1, "the file is kept for the next attempt"
    assert upload(operator, campaign, b"A1\n") == ["Added: 1. Skipped: 0. In all: 1."]
