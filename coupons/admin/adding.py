"""The operators' pages that add codes to a campaign's pool, or accounts to its list: of a file, or entered.

Lines are read some thousands at a time. What is there already is skipped, so a repeat adds the rest.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import zip_longest
from typing import Any, BinaryIO

from django import forms
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy as _, ngettext
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from accounts.operating import own_account
from coupons.codes import eligible_accounts, line_files, pool
from coupons.codes.line_files import BadLine, FileLine, Piece
from coupons.codes.pool import Added
from coupons.models import Campaign
from foundation import form_fields
from foundation.admin_base import uploads
from foundation.admin_base.actions import (
    MOST_LINES,
    Action,
    ActionForm,
    ActionPreview,
    FormData,
    keyed_call_with_report,
)
from foundation.admin_base.display import view_of
from foundation.errors import Invalid

Counts = dict[str, int]
FIRST_SHOWN = 10
MOST_KEPT = 2_000
"""Right lines beside wrong ones: the page has them, to be added without the others."""
LONGEST_KEPT = 50_000
"""Their characters, each line with the six of its end in a form: a body of a form has 64 KiB."""
LIKE_CODES = re.compile("code|coupon|쿠폰|코드", re.IGNORECASE)
"""In the header of a column."""
COLUMN_ROWS = 3
"""Shown of a column that is to be chosen."""
SAMPLE = "coupons/codes-sample.csv"
MOST_CODES_AT_ONCE = 100_000
ADD = "add"
REMOVE = "remove"


class AddCodesForm(ActionForm):
    codes = forms.CharField(
        label=_("Codes"),
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text=_("One in each line. Codes that exist already are skipped."),
    )
    count = form_fields.WholeNumberField(
        label=_("Count"),
        required=False,
        min_value=1,
        max_value=MOST_CODES_AT_ONCE,
        help_text=_("Or how many codes to generate."),
    )

    def check(self, data: FormData) -> FormData:
        if bool(data["codes"]) == bool(data["count"]):
            raise forms.ValidationError(gettext("Enter the codes, or how many to generate, but not both."))
        return data


class ListedAccountsForm(ActionForm):
    change = forms.ChoiceField(
        label=_("Change"),
        choices=[(ADD, _("Add to the list")), (REMOVE, _("Remove from the list"))],
        widget=UnfoldAdminSelectWidget,
    )
    accounts = forms.CharField(
        label=_("Accounts"),
        widget=UnfoldAdminTextareaWidget,
        help_text=_("Numbers, user names or e-mail addresses of accounts, one in each line."),
    )


class LinesForm(uploads.UploadForm):
    """A file, and its column if that has to be asked for."""

    column = form_fields.WholeNumberField(
        label=_("Which column holds the codes?"), required=False, min_value=0, widget=forms.HiddenInput
    )

    def __init__(self, kind: line_files.Kind, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.kind = kind
        if kind is line_files.ACCOUNTS:
            self.fields["column"].label = _("Which column holds the accounts?")

    def check(self, data: FormData) -> FormData:
        if data["column"] is not None or not data["path"].exists():
            return data
        with data["path"].open("rb") as file:
            layout = line_files.find_layout(file, self.kind)
        if layout.column is None:
            titles = map(", ".join, zip_longest(*layout.rows[:COLUMN_ROWS], fillvalue=""))
            self.fields["column"].widget = UnfoldAdminSelectWidget(
                choices=[("", gettext("Choose")), *enumerate(titles)]
            )
            if named := [at for at, title in enumerate(layout.rows[0]) if LIKE_CODES.search(title)]:
                self.data = {**self.data, "column": named[0]}
            self.add_error("column", gettext("Choose the column. The file is kept."))
        return data


class Codes:
    """Lines that are codes, for the pool of a campaign."""

    kind = line_files.CODES
    page, field = "add_codes", "codes"
    title = _("Upload codes for %(campaign)s")
    submit = _("Add codes")
    description = _("Each coupon of this campaign uses one of these codes.")
    file_text = _(
        "A text or CSV file with one code in each line. It may have a header, such as {header}, and more "
        "columns."
    )
    warning = _("Codes can't be removed again.")
    names = (_("Codes"), _("Already in this campaign: skipped"))
    pieces = staticmethod(partial(line_files.pieces, kind=line_files.CODES))

    @staticmethod
    def find(campaign: Campaign, piece: Piece) -> tuple[int, list[FileLine]]:
        """How many of the lines are there already, and those that are taken elsewhere."""
        own = set(campaign.pool.filter(code__in=piece.texts).values_list("code", flat=True))
        taken = pool.existing_codes(piece.texts) - own
        elsewhere = [line for line in piece.lines if line.text in taken]
        return len(own), elsewhere

    @staticmethod
    def add(campaign: Campaign, piece: Piece, reason: str) -> Added:
        return pool.add(campaign_id=campaign.pk, codes=piece.texts, reason=reason)


class Accounts:
    """Lines that are the ids of accounts, for the list of a campaign."""

    kind = line_files.ACCOUNTS
    page, field = "list_accounts", "accounts"
    title = _("Upload accounts for %(campaign)s")
    submit = _("Add accounts")
    description = _("Only the accounts on the list get a coupon.")
    file_text = _(
        "A text or CSV file with an account's number, user name or e-mail address in each line. It may have "
        "a header, such as {header}, and more columns."
    )
    warning = ""
    names = (_("Accounts"), _("On the list already: skipped"))
    pieces = staticmethod(eligible_accounts.pieces)

    @staticmethod
    def find(campaign: Campaign, piece: Piece) -> tuple[int, list[FileLine]]:
        """How many of the accounts are listed already."""
        return len(eligible_accounts.listed(campaign_id=campaign.pk, account_ids=piece.account_ids)), []

    @staticmethod
    def add(campaign: Campaign, piece: Piece, reason: str) -> Added:
        return eligible_accounts.add(campaign_id=campaign.pk, account_ids=piece.account_ids, reason=reason)


Lines = type[Codes] | type[Accounts]


def upload(campaign: Campaign, lines: Lines) -> Action:
    """The action that adds the lines of a file to the campaign."""
    title = lines.title % {"campaign": campaign.name}

    def preview(data: FormData) -> ActionPreview:
        with uploads.opened(data, is_confirmed=False) as file:
            return _preview(campaign, lines, file, title, data["column"])

    def perform(data: FormData) -> Counts:
        with uploads.opened(data, is_confirmed=True) as file:
            return _add(campaign, lines, file, data["reason"], data["column"])

    header = format_html("<code>{}</code>", lines.kind.header)
    sample = ""
    if lines is Codes:
        text = gettext("Download a sample file")
        sample = format_html('<a class="fc-link" href="{}" download>{}</a>', static(SAMPLE), text)
    return _action(
        campaign,
        lines,
        title=title,
        description=format_html(
            "{} {} {}", format_html(str(lines.file_text), header=header), lines.description, sample
        ),
        form_class=partial(LinesForm, lines.kind),
        preview=preview,
        perform=perform,
    )


def add_codes(request: HttpRequest, campaign: Campaign) -> Action:
    """The action that adds codes to the pool of this campaign, entered or generated ones."""
    title = gettext("Add codes to %(name)s") % {"name": campaign.name}

    def preview(data: FormData) -> ActionPreview:
        if not data["count"]:
            return _preview(campaign, Codes, _entered(data["codes"]), title)
        question = ngettext("Generate %(count)s code?", "Generate %(count)s codes?", data["count"])
        had = (gettext("Codes in the pool so far"), f"{campaign.codes_added:,}")
        return ActionPreview(
            question % {"count": f"{data['count']:,}"}, facts=[had], warning=str(Codes.warning)
        )

    def perform(data: FormData) -> Counts:
        if not data["count"]:
            preview(data)  # refuses bad lines of a form that comes confirmed
            return _add(campaign, Codes, _entered(data["codes"]), data["reason"])
        made = pool.generate(
            campaign_id=campaign.pk,
            count=data["count"],
            keyed=lambda number: keyed_call_with_report(
                request, data, action=f"generate codes of {campaign.pk}", describe=str, part=f"codes {number}"
            ),
            reason=data["reason"],
        )
        return {"added": made.added, "skipped": 0, "total": made.total}

    return _action(
        campaign,
        Codes,
        title=title,
        form_class=AddCodesForm,
        initial={"codes": request.POST.get("codes")},
        preview=preview,
        perform=perform,
    )


def change_list(request: HttpRequest, campaign: Campaign) -> Action:
    """The action that adds accounts to the list of this campaign, or removes them."""
    title = gettext("Accounts on the list of %(name)s") % {"name": campaign.name}

    def ids(data: FormData) -> list[int]:
        return [id for piece in Accounts.pieces(_entered(data["accounts"])) for id in piece.account_ids]

    def preview(data: FormData) -> ActionPreview:
        checked = _preview(campaign, Accounts, _entered(data["accounts"]), title)
        chosen = ids(data)
        changed = eligible_accounts.listed(campaign_id=campaign.pk, account_ids=chosen)
        question = ngettext("Remove %(count)s account?", "Remove %(count)s accounts?", len(changed))
        warning = gettext("Coupons that were issued can still be used.")
        if data["change"] == ADD:
            changed, warning = {*chosen} - changed, ""
            question = ngettext("Add %(count)s account?", "Add %(count)s accounts?", len(changed))
        first = sorted(changed)[:FIRST_SHOWN]
        seen = first if request.user.has_perm("auth.view_user") else []
        people = dict(User.objects.filter(pk__in=seen).values_list("pk", "username"))
        names = [str(people.get(id, id)) for id in first] + ["…"] * (len(changed) > len(first))
        return replace(
            checked,
            question=question % {"count": f"{len(changed):,}"},
            facts=[*checked.facts[:-1], (gettext("The first ones"), ", ".join(names))],
            warning=warning,
        )

    def perform(data: FormData) -> Counts:
        preview(data)  # refuses bad lines of a form that comes confirmed
        if data["change"] == ADD:
            own_account.refuse_own(*ids(data))
            return _add(campaign, Accounts, _entered(data["accounts"]), data["reason"])
        removed = eligible_accounts.remove(
            campaign_id=campaign.pk, account_ids=ids(data), reason=data["reason"]
        )
        return {"removed": removed}

    return _action(
        campaign,
        Accounts,
        title=title,
        submit=gettext("Change the list"),
        form_class=ListedAccountsForm,
        initial={"accounts": request.POST.get("accounts")},
        preview=preview,
        perform=perform,
    )


def _action(campaign: Campaign, lines: Lines, **described: Any) -> Action:
    usual: dict[str, Any] = {"description": lines.description, "submit": lines.submit}
    return Action(
        report=_report,
        once=f"add {lines.kind.header} lines to {campaign.pk}",
        is_one_transaction=False,
        **usual | described,
    )


def _entered(entered: str) -> BinaryIO:
    return BytesIO("\n".join(re.split(r"[\s,;]+", entered.strip())).encode())


def _add(campaign: Campaign, lines: Lines, file: BinaryIO, reason: str, column: int | None = None) -> Counts:
    counts = {"added": 0, "skipped": 0, "total": 0}
    for piece in lines.pieces(file, column=column):
        done = lines.add(campaign, piece, reason)
        counts["added"] += done.added
        counts["skipped"] += len(done.skipped)
        counts["total"] = done.total
    return counts


def _report(counts: Mapping[str, int]) -> str:
    if "removed" not in counts:
        return gettext("Added: %(added)s. Skipped: %(skipped)s. In all: %(total)s.") % {
            name: f"{count:,}" for name, count in counts.items()
        }
    text = ngettext("%(count)s account removed.", "%(count)s accounts removed.", counts["removed"])
    return text % {"count": f"{counts['removed']:,}"}


def _preview(
    campaign: Campaign, lines: Lines, file: BinaryIO, title: str, column: int | None = None
) -> ActionPreview:
    """What adding the lines would do. Raises `Invalid` with the lines that are none."""
    count = present = taken = wrong = 0
    seen: set[int] = set()
    right: list[str] = []
    elsewhere: list[FileLine] = []
    bad: list[BadLine] = []
    for piece in lines.pieces(file, column=column):
        there, others = lines.find(campaign, piece)
        count += len(piece.lines)
        # Hashes, as a file may have millions of lines.
        seen.update(map(hash, piece.texts))
        present += there
        taken += len(others)
        right += piece.texts[: MOST_KEPT - len(right)]
        elsewhere += others[: MOST_LINES - len(elsewhere)]
        wrong += len(piece.errors)
        bad += sorted(piece.errors)[: MOST_LINES - len(bad)]
        if len(bad) == MOST_LINES:
            break
    if bad or not count:
        text = gettext("Nothing was added. Wrong lines: {lines}. Correct them, then try again.")
        raise Invalid(
            text.format(lines=f"≥ {wrong}" if len(bad) == MOST_LINES else wrong)
            if bad
            else gettext("There is nothing to add. Enter a line at least."),
            errors=[one._asdict() | {"field": lines.kind.header} for one in bad],
            kept=_keep(campaign, lines, right) if len(right) == count and len(bad) < MOST_LINES else None,
        )
    facts = [(str(lines.names[0]), f"{count:,}"), (str(lines.names[1]), f"{present:,}")]
    if repeated := count - len(seen):
        facts.append((gettext("Repeated in the file: skipped"), f"{repeated:,}"))
    if taken:
        facts.append((gettext("Used by other campaigns: skipped"), f"{taken:,}"))
    return ActionPreview(
        f"{title}?",
        facts=[*facts, (gettext("The first ones"), ", ".join(dict.fromkeys(right[:FIRST_SHOWN])))],
        warning=str(lines.warning),
        table={"headers": [gettext("line"), gettext("code")], "rows": elsewhere},
    )


def _keep(campaign: Campaign, lines: Lines, right: list[str]) -> dict[str, str] | None:
    """The right lines, for the form of entered ones: of a refused file nothing is on the disk."""
    if not 0 < sum(len(line) + 6 for line in right) < LONGEST_KEPT:
        return None
    text = ngettext("Add the %(count)s good line", "Add the %(count)s good lines", len(right))
    return {
        "submit": text % {"count": f"{len(right):,}"},
        "address": reverse(view_of(campaign, lines.page), args=[campaign.pk]),
        "name": lines.field,
        "text": "\n".join(right),
    }
