"""What operators' pages have in common: rows nobody edits, and a sign-in that is throttled as any other."""

from typing import Any

from django import forms
from django.db.models import Model
from django.http import HttpRequest
from unfold.forms import AuthenticationForm

from shop import accounts, addresses, throttling
from shop.addresses import AddressUnknown
from shop.errors import Throttled


class ReadOnly:
    """Neither added nor changed nor deleted by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class SignInForm(AuthenticationForm):
    """The admin's sign-in shares the API's windows: guessing is no easier here."""

    def clean(self) -> dict[str, Any]:
        name = accounts.known_as(self.cleaned_data.get("username", ""))
        assert self.request is not None
        try:
            attempts = [
                (throttling.SIGN_INS_OF_NAME, name),
                (throttling.SIGN_INS_FROM_ADDRESS, addresses.of(self.request)),
            ]
            throttling.check(attempts)
        except AddressUnknown as error:
            raise forms.ValidationError(error.detail, code=error.code) from None
        except Throttled as error:
            raise forms.ValidationError(
                f"Too many attempts; try again in {error.retry_after} s.", code=error.code
            ) from None
        cleaned: dict[str, Any] = super().clean()
        return cleaned
