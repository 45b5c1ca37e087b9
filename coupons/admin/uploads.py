"""The operators' pages that add the lines of a file: codes to a campaign's pool, or accounts to its list.

A file is read some thousand lines at a time. What is there already is skipped, so a repeat adds the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from django.utils.html import format_html
from django.utils.translation import gettext

from coupons import eligible_accounts, line_files, pool
from coupons.eligible_accounts import ListedAccounts
from coupons.line_files import BadLine, FileLine, Kind, Piece
from coupons.models import Campaign
from coupons.pool import AddedCodes
from shop.errors import Invalid
from shop.operators import actions, uploads
from shop.operators.actions import MOST_LINES, Action, ActionPreview

FIRST_SHOWN = 10


class Target(NamedTuple):
    """What lines are added to: `find` says how many of a piece are there, and which are taken elsewhere."""

    kind: Kind
    title: str
    description: str
    warning: str
    names: tuple[str, str]
    """Of the lines, and of those that are there already."""
    find: Callable[[Piece], tuple[int, list[FileLine]]]
    add: Callable[[Sequence[str], str], AddedCodes | ListedAccounts]


def codes_of(campaign: Campaign) -> Target:
    """The pool of a campaign."""

    def find(piece: Piece) -> tuple[int, list[FileLine]]:
        found = pool.existing(campaign_id=campaign.pk, codes=piece.texts)
        elsewhere = [line for line in piece.lines if line.text in found.elsewhere]
        return sum(line.text in found.in_pool for line in piece.lines), elsewhere

    text = gettext("A text or CSV file, one code in each line; the first line may be the header {header}.")
    if campaign.code_source != Campaign.CodeSource.POOL:
        unused = gettext(
            "This campaign generates its codes: it takes uploaded ones once its code source is “pool”."
        )
        text = f"{text} {unused}"
    return Target(
        kind=line_files.CODES,
        title=gettext("Upload codes for %(campaign)s") % {"campaign": campaign.name},
        description=text,
        warning=gettext("Codes can't be taken out of the pool again."),
        names=(gettext("Codes in the file"), gettext("In this campaign's pool already: skipped")),
        find=find,
        add=lambda texts, reason: pool.add(campaign_id=campaign.pk, codes=texts, reason=reason),
    )


def accounts_of(campaign: Campaign) -> Target:
    """The list of accounts of a campaign."""

    def find(piece: Piece) -> tuple[int, list[FileLine]]:
        ids = [int(text) for text in piece.texts]
        unknown = eligible_accounts.unknown(ids)
        text = gettext("there is no account %(account)s")
        piece.errors.extend(
            BadLine(line.number, "unknown", text % {"account": line.text})
            for line in piece.lines
            if int(line.text) in unknown
        )
        return len(eligible_accounts.listed(campaign_id=campaign.pk, account_ids=ids)), []

    def add(texts: Sequence[str], reason: str) -> ListedAccounts:
        ids = [int(text) for text in texts]
        return eligible_accounts.add(campaign_id=campaign.pk, account_ids=ids, reason=reason)

    text = gettext(
        "A text or CSV file, the id of an account in each line; the first line may be the header {header}."
    )
    if campaign.eligible != Campaign.Eligible.LISTED:
        unused = gettext("This campaign is for all accounts: its list counts once it is for listed accounts.")
        text = f"{text} {unused}"
    return Target(
        kind=line_files.ACCOUNTS,
        title=gettext("Upload accounts for %(campaign)s") % {"campaign": campaign.name},
        description=text,
        warning="",
        names=(gettext("Accounts in the file"), gettext("Listed already: skipped")),
        find=find,
        add=add,
    )


def add_lines(campaign: Campaign, target: Target) -> Action:
    """The action that adds the lines of a file to the target."""

    def preview(data: Mapping[str, Any]) -> ActionPreview:
        with uploads.opened(data, is_confirmed=False) as file:
            return _preview(file, target)

    def perform(data: Mapping[str, Any]) -> dict[str, int]:
        counts = {"added": 0, "skipped": 0, "total": 0}
        with uploads.opened(data, is_confirmed=True) as file:
            for piece in line_files.pieces(file, kind=target.kind):
                done = target.add(piece.texts, data["reason"])
                counts["added"] += done.added
                counts["skipped"] += len(done.skipped)
                counts["total"] = done.total
        return counts

    return Action(
        title=target.title,
        description=format_html(
            target.description, header=format_html("<code>{}</code>", target.kind.header)
        ),
        submit=gettext("Add"),
        form_class=uploads.UploadForm,
        preview=preview,
        perform=perform,
        report=lambda counts: gettext("%(added)s added, %(skipped)s skipped, %(total)s in all.") % counts,
        once=f"add {target.kind.header} lines to {campaign.pk}",
        is_one_transaction=False,
        back=actions.page_of(campaign),
    )


def _preview(file: BinaryIO, target: Target) -> ActionPreview:
    """What adding the lines would do. Raises `Invalid` with the lines that are none."""
    count = present = taken = wrong = 0
    first: list[str] = []
    elsewhere: list[FileLine] = []
    bad: list[BadLine] = []
    for piece in line_files.pieces(file, kind=target.kind):
        there, others = target.find(piece)
        count, present, taken = count + len(piece.lines), present + there, taken + len(others)
        first += piece.texts[: FIRST_SHOWN - len(first)]
        elsewhere += others[: MOST_LINES - len(elsewhere)]
        wrong += len(piece.errors)
        bad += sorted(piece.errors)[: MOST_LINES - len(bad)]
    if bad or not count:
        text = gettext(
            "Nothing can be added: {lines} lines are bad. Correct them, and choose the file again."
        )
        raise Invalid(
            text.format(lines=wrong) if bad else gettext("The file is empty."),
            errors=[one._asdict() | {"field": target.kind.header} for one in bad],
        )
    facts = [(target.names[0], f"{count:,}"), (target.names[1], f"{present:,}")]
    if taken:
        facts.append((gettext("Taken by other campaigns: skipped"), f"{taken:,}"))
    return ActionPreview(
        f"{target.title}?",
        facts=[*facts, (gettext("The first ones"), ", ".join(first))],
        warning=target.warning,
        table={"headers": [gettext("line"), gettext("code")], "rows": elsewhere},
    )
