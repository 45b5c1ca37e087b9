"""Filters of operators' lists with a few fixed choices."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest


class ChoiceFilter(admin.SimpleListFilter):
    """A filter each of whose `options` has a name for people and a condition, by its value in the address."""

    options: Mapping[str, tuple[Any, Q]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(name)) for value, (name, _) in self.options.items()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        chosen = self.options.get(self.value() or "")
        return queryset.filter(chosen[1]) if chosen else queryset


def choice_filter(
    title: Any, parameter_name: str, options: Mapping[str, tuple[Any, Q]]
) -> type[ChoiceFilter]:
    """The filter with this title, parameter in the address, and options."""
    members = {"title": title, "parameter_name": parameter_name, "options": options}
    return type("ChoiceFilter", (ChoiceFilter,), members)
