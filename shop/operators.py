"""What operators' pages have in common: rows nobody edits, and a sign-in that is throttled as any other."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect
from unfold.forms import AuthenticationForm

from shop import accounts, addresses, throttling
from shop.errors import Throttled


class ReadOnly:
    """Neither added nor changed nor deleted by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class OwnTransactions(admin.ModelAdmin):
    """Pages that write by domain functions, whose transactions are durable and tried again; name it last.

    Django's page is one transaction, in which they would be savepoints: a lost answer to its COMMIT would be
    an error, and operators would do again what was done.
    """

    @method_decorator(csrf_protect)
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """As Django's, but for the transaction."""
        response: HttpResponse = self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined]
        return response


class SignInForm(AuthenticationForm):
    """The admin's sign-in shares the API's windows: guessing is no easier here."""

    def clean(self) -> dict[str, Any]:
        name = accounts.known_as(self.cleaned_data.get("username", ""))
        assert self.request is not None
        attempts = [
            (throttling.SIGN_INS_OF_NAME, name),
            (throttling.SIGN_INS_FROM_ADDRESS, addresses.of(self.request)),
        ]
        try:
            throttling.check(attempts)
        except Throttled as error:
            raise forms.ValidationError(
                f"Too many attempts; try again in {error.retry_after} s.", code=error.code
            ) from None
        cleaned: dict[str, Any] = super().clean()
        return cleaned
