"""Fields of the admin's forms: numbers and instants as `foundation.literals` reads them, and nothing else.

Django's own take full-width and Arabic digits, "1_000", "1.0" and dates in the forms of several countries.
"""

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.db import models
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_noop
from unfold.widgets import INPUT_CLASSES, UnfoldAdminIntegerFieldWidget

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


class InstantInput(forms.DateTimeInput):
    """The browser's own control for a day and a time. Its script says what that is in other time zones, and
    how long it is until then.
    """

    class Media:
        js = ("admin_base/instants.js",)

    def __init__(self, attrs: Any = None) -> None:
        own = {"type": "datetime-local", "step": "1", "class": " ".join(INPUT_CLASSES)}
        super().__init__(own | (attrs or {}), format="%Y-%m-%dT%H:%M:%S")

    def build_attrs(self, base_attrs: Any, extra_attrs: Any = None) -> dict[str, Any]:
        words = {f"data-{name}": gettext(word) for name, word in INSTANT_WORDS.items()}
        return super().build_attrs(base_attrs, extra_attrs) | words | {"data-zone": settings.SHOP_TIME_ZONE}


INSTANT_WORDS = {
    "now": gettext_noop("Now"),
    "later": gettext_noop("+1 h"),
    "hour": gettext_noop("Next full hour"),
    "browser": gettext_noop("this browser"),
    "in": gettext_noop("in {time}"),
    "ago": gettext_noop("{time} ago"),
    "days": gettext_noop("{count} d"),
    "hours": gettext_noop("{count} h"),
    "minutes": gettext_noop("{count} min"),
    "seconds": gettext_noop("{count} s"),
}
"""What the script of the control says, in the page's language."""


class InstantField(_StrictField, forms.DateTimeField):
    """RFC 3339, or a day and a time in the page's time zone as the browser's control sends them."""

    widget = InstantInput
    read = staticmethod(literals.instant_or_wall_time)


class DayOrInstantField(_StrictField, forms.DateTimeField):
    """As `InstantField`, or a day, which is its beginning."""

    read = staticmethod(literals.day_or_instant)


def strict_options(field: "models.Field[Any, Any]") -> dict[str, Any]:
    """The arguments of a model field's form field that make it strict; an instant's says its time zone."""
    if isinstance(field, models.IntegerField):
        return {"form_class": WholeNumberField}
    if isinstance(field, models.DateTimeField):
        label = f"{capfirst(field.verbose_name)} ({settings.SHOP_TIME_ZONE})"
        options = {"form_class": InstantField, "widget": InstantInput, "label": label}
        # Django carries a hidden one where the model's default is a function.
        return options | {"show_hidden_initial": False}
    return {}
