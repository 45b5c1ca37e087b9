"""Forms of operators' actions: the reason, and a key with which a form that is sent twice acts once."""

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.core.validators import RegexValidator
from django.utils.functional import cached_property
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget
from uuid_utils.compat import uuid7

from foundation import clock
from foundation.admin_base.classes import REASON
from foundation.http.validation import CONTROL_CHARACTERS
from foundation.journal import LONGEST_DETAIL
from foundation.lazy_texts import Text
from foundation.normalization import normalized

REASON_HELP = format_lazy(
    _("At most {length} characters. Recorded with your name; customers don't see it."), length=LONGEST_DETAIL
)
REASON_LABEL = _("Reason")
_refuse_control_characters = RegexValidator(
    CONTROL_CHARACTERS,
    _("The reason must not contain control characters other than tabs and line breaks."),
    code="control_character",
    inverse_match=True,
)
"""As the API refuses them."""
SENT_BEFORE = _("This form was sent before; nothing was done again.")


def reason_field(
    help_text: Text = REASON_HELP,
    *,
    max_length: int = LONGEST_DETAIL,
    label: Text = REASON_LABEL,
    is_required: bool = True,
) -> forms.CharField:
    """The field for the reason of an action."""
    return forms.CharField(
        required=is_required,
        label=label,
        max_length=max_length,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=help_text,
        validators=[_refuse_control_characters],
    )


class FormIdField(forms.UUIDField):
    """The hidden field with the form's id, a UUIDv7 that is generated with the form.

    Refuses old forms: their effect may be recorded no more, and would happen again.
    """

    def __init__(self) -> None:
        super().__init__(initial=uuid7, widget=forms.HiddenInput, label="")

    def validate(self, value: UUID) -> None:
        """Raise `ValidationError` for another kind of id, or one older than half the retention of keys."""
        super().validate(value)
        # Its first 48 bits are milliseconds since the epoch.
        age_seconds = clock.seconds() - (value.int >> 80) / 1000
        if value.version != 7 or age_seconds > settings.IDEMPOTENCY_RETENTION_SECONDS / 2:
            raise forms.ValidationError(_("This form is too old to be sent. Open the page again."))


class ChangeForm(forms.ModelForm):
    """The form of a row's page, which asks why the row is changed; the form of a new row doesn't."""

    reason = reason_field()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None:
            del self.fields[REASON]

    @cached_property
    def changed_data(self) -> list[str]:
        """The changed fields of the row: the reason alone changes nothing."""
        return [name for name in super().changed_data if name != REASON]


class EditForm(forms.BaseForm):
    """A form for what others may change meanwhile: its `changed_data` are what was changed in it alone.

    Each field carries the value with which it was shown. One that was changed in the form, and has another
    value by now, is refused.
    """

    carried: tuple[str, ...] = ()

    def carry_initial(self) -> None:
        """To be called once the form has its fields."""
        self.carried = tuple(
            name for name, field in self.fields.items() if not field.widget.is_hidden and name != REASON
        )
        for name in self.carried:
            self.fields[name].show_hidden_initial = True

    def clean(self) -> Any:
        data = super().clean()
        for bound in (self[name] for name in self.carried):
            field = bound.field
            name = bound.html_initial_name
            # Date and time come apart, and of several values a field that was shown with none sends none.
            sends_none = getattr(field.widget, "allow_multiple_selected", False)
            if not sends_none and self.data.keys().isdisjoint({name, f"{name}_0"}):
                text = _("The form is incomplete. Open the page again.")
                raise forms.ValidationError(text)
            shown = field.hidden_widget().value_from_datadict(self.data, self.files, name)
            if bound.name in self.changed_data and field.has_changed(normalized(bound.initial), shown):
                text = _("This was changed since the page was opened. Open the page again.")
                self.add_error(bound.name, text)
        return data


class TermsForm(EditForm, ChangeForm):
    """The form of a row that domain functions write: a new one is created once for its form."""

    form_id = FormIdField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields.pop("form_id", None)
            self.carry_initial()
