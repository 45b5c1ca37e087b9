"""The export of an account: everything that the database has of it, as one JSON document."""

from typing import Any

from accounts import accounts
from accounts.personal_data import registry
from shop import approvals, clock
from shop.approval_models import Approval
from shop.db import archived_months, transactions
from shop.http import json_format
from shop.models import JournalLine


def export(*, account_id: int, reason: str) -> bytes:
    """Read the account's rows of every model, record the export in the journal, and return the document.

    It is read by many short statements, so what changes meanwhile may be in one part and not in another. The
    line is written first: no export is without one. `archived` are the files that may have more of its rows.
    """
    transactions.run_or_savepoint(
        lambda: accounts.note_change("exported", account_id, after={}, detail=reason), transactions.ONCE
    )
    archived = archived_months.as_json(archived_months.read_all())
    tables = {
        label: [_row(label, row, account_id) for row in registry.rows_of(label, account_id).values()]
        for label in registry.personal_data()
    }
    return json_format.dump(
        {"account": account_id, "exported_at": clock.now(), "tables": tables, "archived": archived}
    )


def _row(label: str, row: dict[str, Any], account_id: int) -> dict[str, Any]:
    """The row without secrets, and without the operators who acted on the account: they are other people."""
    secrets = registry.personal_data()[label].secrets
    shown = {name: value for name, value in row.items() if name not in secrets}
    if label == JournalLine._meta.label:
        if row["actor_id"] != account_id:
            shown |= {"actor_id": None, "actor_name": ""}
        both = approvals.persons_in(shown["after"] or {})
        if others := [name for name, person in both.items() if person["id"] != account_id]:
            shown["after"] = {name: value for name, value in row["after"].items() if name not in others}
    if label == Approval._meta.label:
        for of in ("asker", "decider"):
            if row[f"{of}_id"] != account_id:
                shown |= {f"{of}_id": None, f"{of}_name": ""}
    return shown
