"""Fields of the admin's forms: numbers and instants as `foundation.literals` reads them, and nothing else.

Django's own take full-width and Arabic digits, "1_000", "1.0" and dates in the forms of several countries.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.db import models
from django.utils.text import capfirst
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from foundation import literals


class _StrictField(forms.Field):
    read: ClassVar["staticmethod[[str], Any]"]

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value:
            try:
                value = type(self).read(value)
            except literals.NotOfTheForm:
                raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None
        return super().to_python(value)


class WholeNumberField(_StrictField, forms.IntegerField):
    """A whole number."""

    widget = UnfoldAdminIntegerFieldWidget
    read = staticmethod(literals.whole_number)


class DayField(_StrictField, forms.DateField):
    """A day, as the browser's control for it sends it."""

    read = staticmethod(literals.day)


class InstantField(_StrictField, forms.DateTimeField):
    """RFC 3339, or a day and a time in the page's time zone as the browser's control sends them."""

    read = staticmethod(literals.instant_or_wall_time)


class DayOrInstantField(_StrictField, forms.DateTimeField):
    """As `InstantField`, or a day; in UTC where it has no offset."""

    read = staticmethod(literals.instant_in_utc)


class SplitInstantField(forms.SplitDateTimeField):
    """A day and a time in the page's time zone, each in an input of its own."""

    def clean(self, value: Sequence[str] | None) -> Any:
        given = " ".join(filter(None, value or ())).strip()
        try:
            if given:
                literals.instant_or_wall_time(given)
        except literals.NotOfTheForm:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None
        return super().clean(value)


def strict_options(field: "models.Field[Any, Any]") -> dict[str, Any]:
    """The arguments of a model field's form field that make it strict; an instant's says its time zone."""
    if isinstance(field, models.IntegerField):
        return {"form_class": WholeNumberField}
    if isinstance(field, models.DateTimeField):
        label = f"{capfirst(field.verbose_name)} ({settings.TIME_ZONE})"
        return {"form_class": SplitInstantField, "label": label}
    return {}
