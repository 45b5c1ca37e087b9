"""What operators' pages have in common: rows nobody edits, and a sign-in that is throttled as any other."""

from typing import Any

from django import forms
from django.db.models import Model
from django.http import HttpRequest
from unfold.forms import AuthenticationForm

from shop import addresses, sign_ins
from shop.accounts import InvalidCredentials
from shop.errors import Throttled, Unavailable


class ReadOnly:
    """Neither added nor changed nor deleted by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class SignInForm(AuthenticationForm):
    """The admin's sign-in is the API's, with its windows and journal lines: guessing is no easier here."""

    def clean(self) -> dict[str, Any]:
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        assert self.request is not None
        if username and password:
            address = addresses.of(self.request)
            try:
                self.user_cache = sign_ins.sign_in(
                    username=username, password=password, address=address, is_operator=True
                )
            except InvalidCredentials:
                raise self.get_invalid_login_error() from None
            except (Throttled, Unavailable) as error:
                detail = f"{error.detail} Try again in {error.retry_after} s."
                raise forms.ValidationError(detail, code=error.code) from None
        return self.cleaned_data
