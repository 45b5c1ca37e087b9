"""The registry of every model: how its rows belong to an account, or why they don't; and the export by it.

Apps add their models in `ready`. docs/reference/personal-data.md is made of it, and a test fails for a model
without an entry.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db.models import Model, Q, QuerySet

from accounts import accounts
from accounts.operating import approvals
from accounts.tokens import sign_outs
from foundation import clock
from foundation.approval_models import Approval
from foundation.db import transactions
from foundation.http import json_format
from foundation.models import ArchivedPaidEvent, JournalLine
from foundation.values import Values

Rows = QuerySet[Any, Any]


class Erasure(Enum):
    """What the erasure of an account does to the rows; the values are for docs/reference/personal-data.md."""

    REPLACED = "names are replaced by the pseudonym"
    KEPT = "kept: they name the account by its number alone"
    DELETED = "deleted"
    OPEN = "none is left: an erasure is refused while one is open"


@dataclass(frozen=True, slots=True)
class PersonalData:
    """A model with rows of accounts.

    `path` leads from the model to the account's number. Where there is no foreign key, `rows` finds the rows,
    and `path` says by what. `secrets` are columns that the export leaves out.
    """

    path: str
    erasure: Erasure
    kept: str
    rows: Callable[[int], Rows] | None = None
    secrets: Set[str] = frozenset()


def rows_of(label: str, account_id: int) -> Rows:
    """The account's rows of the model with this label, in the order of their keys."""
    entry = personal_data()[label]
    if entry.rows is not None:
        return entry.rows(account_id).order_by("pk")
    model: type[Model] = apps.get_model(label)
    return model._base_manager.filter(**{entry.path: account_id}).distinct().order_by("pk")


def personal_data() -> Mapping[str, PersonalData]:
    """The models with rows of accounts, by their labels."""
    return {label: entry for label, entry in REGISTRY.items() if isinstance(entry, PersonalData)}


def journal_lines_of(account_id: int) -> "QuerySet[JournalLine]":
    """The lines that the account caused, and those about it, its wallet or its orders.

    Each part has an index of its own: one condition for all of them would read the whole journal.
    """
    subjects = [accounts.journal_subject(account_id), f"wallet {account_id}"]
    parts = (Q(actor_id=account_id), Q(subject__in=subjects), Q(order_id__in=order_ids(account_id)))
    found = {pk for part in parts for pk in JournalLine.objects.filter(part).values_list("pk", flat=True)}
    return JournalLine.objects.filter(pk__in=found)


def order_ids(account_id: int) -> list[UUID]:
    """The ids of the account's orders."""
    return [*rows_of("orders.Order", account_id).values_list("pk", flat=True)]


def export(*, account_id: int, reason: str) -> bytes:
    """Read the account's rows of every model, record the export in the journal, and return the document.

    It is read by many short statements, so what changes meanwhile may be in one part and not in another. The
    line is written first: no export is without one.
    """
    transactions.run_or_savepoint(
        lambda: accounts.note_change("exported", account_id, after={}, detail=reason), transactions.ONCE
    )
    tables = {
        label: [_row(label, row, account_id) for row in rows_of(label, account_id).values()]
        for label in personal_data()
    }
    return json_format.dump({"account": account_id, "exported_at": clock.now(), "tables": tables})


def _row(label: str, row: Values, account_id: int) -> Values:
    """The row without secrets, and without the operators who acted on the account: they are other people."""
    secrets = personal_data()[label].secrets
    shown = {name: value for name, value in row.items() if name not in secrets}
    for of in ("actor", "asker", "decider"):
        if row.get(f"{of}_id", account_id) != account_id:
            shown |= {f"{of}_id": None, f"{of}_name": ""}
    if after := row.get("after"):
        others = [name for name in approvals.PERSONS if name in after and after[name]["id"] != account_id]
        shown["after"] = {name: value for name, value in after.items() if name not in others}
    return shown


FOR_GOOD = "for good, as the shop's books"
A_DAY = "`IDEMPOTENCY_RETENTION_SECONDS`, a day"


def kept_for_good(path: str, **others: Any) -> PersonalData:
    """A model whose rows stay, as they name the account by its number alone."""
    return PersonalData(path, Erasure.KEPT, FOR_GOOD, **others)


REGISTRY: dict[str, PersonalData | str] = {
    "auth.User": PersonalData(
        "pk", Erasure.REPLACED, "until the erasure; then a row without a name", secrets={"password"}
    ),
    "auth.User_groups": PersonalData("user", Erasure.DELETED, "as long as the right"),
    "auth.User_user_permissions": PersonalData("user", Erasure.DELETED, "as long as the right"),
    "admin.LogEntry": PersonalData(
        "user", Erasure.REPLACED, "for good: Django's own log of what staff changed"
    ),
    "sessions.Session": PersonalData(
        "the session's data, decoded",
        Erasure.DELETED,
        "until it expires, or a sign-out",
        rows=sign_outs.sessions_of,
        secrets={"session_key", "session_data"},
    ),
    "otp_totp.TOTPDevice": PersonalData("user", Erasure.DELETED, "until it is reset", secrets={"key"}),
    "otp_static.StaticDevice": PersonalData("user", Erasure.DELETED, "until it is reset"),
    "otp_static.StaticToken": PersonalData(
        "device__user", Erasure.DELETED, "until it is used or reset", secrets={"token"}
    ),
    "shop.IdempotencyKey": PersonalData("account", Erasure.DELETED, A_DAY),
    "accounts.ExternalIdentity": PersonalData("account", Erasure.DELETED, "as long as the account"),
    "accounts.ApiKey": PersonalData(
        "maker", Erasure.DELETED, "until its maker's erasure, also when it is revoked"
    ),
    "accounts.ApiKeySecret": PersonalData(
        "key__maker",
        Erasure.DELETED,
        "until its key is revoked, or 24 hours after a rotation and until the next one",
        secrets={"secret_hash"},
    ),
    "shop.Approval": PersonalData(
        "who asked, who decided, and the account that it benefits",
        Erasure.REPLACED,
        FOR_GOOD,
        # Read without an index: there are few, and exports are rare.
        rows=lambda id: Approval.objects.filter(Q(asker_id=id) | Q(decider_id=id) | Q(account_id=id)),
    ),
    "accounts.SignOut": PersonalData(
        "account", Erasure.KEPT, "for good: it refuses the tokens of before", secrets={"kept"}
    ),
    "shop.JournalLine": PersonalData(
        "actor, subject or order", Erasure.REPLACED, FOR_GOOD, rows=journal_lines_of
    ),
    "shop.ArchivedPaidEvent": kept_for_good(
        "order", rows=lambda id: ArchivedPaidEvent.objects.filter(pk__in=order_ids(id))
    ),
    "auth.Group": "names and permissions of groups; memberships are a model of their own",
    "auth.Group_permissions": "the permissions of groups",
    "auth.Permission": "what exists to be permitted",
    "contenttypes.ContentType": "the names of the models",
    "shop.CommittedTransaction": "random numbers of transactions, deleted after a day",
    "accounts.RevokedToken": "random ids of used tokens, deleted when these have expired",
    "shop.LawStatus": "numbers of rows that break a law, overwritten by the next audit",
    "shop.AuditState": "how far the audit is",
    "shop.ProcessLease": "names of the shop's own processes",
}
"""By label: how the rows of a model belong to accounts, or what it has instead, and of no account. Here are
those of Django and of `shop`.
"""
