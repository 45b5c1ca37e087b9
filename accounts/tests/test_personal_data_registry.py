"""Every model has an entry in the registry of personal data, and docs/privacy.md says what that says."""

import re

import pytest
from django.apps import apps
from django.db.models import Model

from accounts.personal_data import registry
from accounts.personal_data.registry import REGISTRY, PersonalData
from scripts.stack import places
from shop.tests import staff_groups
from shop.tests.factories import AccountFactory

PAGE = places.PROJECT / "docs" / "privacy.md"
# Whose pages are not for the models themselves.
SHOWN_WITH = {"auth.User_groups": "auth.user", "auth.User_user_permissions": "auth.user"}


def missing(models: list[type[Model]]) -> list[str]:
    return [model._meta.label for model in models if model._meta.label not in REGISTRY]


def all_models() -> list[type[Model]]:
    return apps.get_models(include_auto_created=True)


def test_every_model_has_an_entry_and_every_entry_a_model():
    assert not missing(all_models()), "write them into the app's personal_data.py"
    assert REGISTRY.keys() == {model._meta.label for model in all_models()}


def test_a_model_with_a_foreign_key_to_accounts_is_never_excepted():
    related = {
        model._meta.label
        for model in all_models()
        for field in model._meta.concrete_fields
        if field.related_model is not None and field.related_model._meta.label == "auth.User"
    }
    assert related
    assert [label for label in related if isinstance(REGISTRY[label], str)] == []


def test_every_left_out_column_exists():
    for label, entry in registry.personal_data().items():
        names = {field.name for field in apps.get_model(label)._meta.concrete_fields}
        assert entry.secrets <= names, label


@pytest.mark.django_db
@pytest.mark.usefixtures("_a_row_of_every_model")
def test_every_path_is_a_query_that_finds_nothing_of_a_stranger():
    stranger = AccountFactory.create()
    found = {label: list(registry.rows_of(label, stranger.pk)) for label in registry.personal_data()}
    assert [label for label, rows in found.items() if rows] == ["auth.User"]


def _readers(label: str) -> str:
    permission = SHOWN_WITH.get(label, label.lower()).replace(".", ".view_")
    groups = [name for name, permissions in staff_groups.RIGHTS.items() if permission in permissions]
    return ", ".join(groups) or "superusers"


def _row(label: str, entry: PersonalData | str) -> str:
    if isinstance(entry, str):
        return f"| {label} | {entry} |"
    path = f"`{entry.path}`" if entry.rows is None else entry.path
    left_out = ", ".join(f"`{name}`" for name in sorted(entry.secrets)) or "-"
    return f"| {label} | {path} | {_readers(label)} | {entry.kept} | {entry.erasure.value} | {left_out} |"


def test_the_tables_of_the_page_about_privacy_are_those_of_the_registry():
    in_order = sorted(REGISTRY.items(), key=lambda one: isinstance(one[1], str))
    expected = [_row(label, entry) for label, entry in in_order]
    apps_of_models = {label.partition(".")[0] for label in REGISTRY}
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \w+\.\w+ \|", line)]
    rows = [line for line in lines if line.split()[1].partition(".")[0] in apps_of_models]
    assert rows == expected, "docs/privacy.md: write\n" + "\n".join(expected)
