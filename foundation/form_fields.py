"""Fields of the admin's forms: numbers and instants as `foundation.literals` reads them, and nothing else.

Django's own take full-width and Arabic digits, "1_000", "1.0" and dates in the forms of several countries.
"""

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.db import models
from django.utils.text import format_lazy
from django.utils.translation import gettext, gettext_noop
from unfold.widgets import INPUT_CLASSES, UnfoldAdminIntegerFieldWidget

from foundation import literals
from foundation.values import Values


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


class MinutesField(WholeNumberField):
    """Minutes, for a column of seconds."""

    widget = UnfoldAdminIntegerFieldWidget(attrs={"step": "any"})
    read = staticmethod(lambda text: round(60 * literals.decimal_number(text)))

    def prepare_value(self, value: Any) -> Any:
        return f"{value / 60:g}" if isinstance(value, int) else value

    def widget_attrs(self, widget: forms.Widget) -> Values:
        """Without the bounds, which are seconds."""
        return {}


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
        # With a last day the browser takes a year of four digits, and with this step no seconds.
        own = {"type": "datetime-local", "step": "60", "max": "9999-12-30T23:59"}
        super().__init__(own | {"class": " ".join(INPUT_CLASSES)} | (attrs or {}), format="%Y-%m-%dT%H:%M:%S")

    def format_value(self, value: Any) -> str | None:
        """The browser shows seconds only where there are some."""
        text = super().format_value(value)
        return text[:16] if text and text[16:] == ":00" else text

    def build_attrs(self, base_attrs: Any, extra_attrs: Any = None) -> Values:
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
    """RFC 3339, or a day and a time in the page's time zone, which the label names, as the browser's control
    sends them.
    """

    widget = InstantInput
    read = staticmethod(literals.instant_or_wall_time)

    def __init__(self, *, label: Any = "", **options: Any) -> None:
        super().__init__(label=format_lazy("{} ({})", label, settings.SHOP_TIME_ZONE), **options)


class DayOrInstantField(_StrictField, forms.DateTimeField):
    """As `InstantField`, or a day, which is its beginning."""

    read = staticmethod(literals.day_or_instant)


def strict_options(field: "models.Field[Any, Any]") -> Values:
    """The arguments of a model field's form field that make it strict."""
    if isinstance(field, models.IntegerField):
        return {"form_class": WholeNumberField}
    if isinstance(field, models.DateTimeField):
        # Django carries a hidden one where the model's default is a function.
        return {"form_class": InstantField, "widget": InstantInput, "show_hidden_initial": False}
    return {}
