"""The admin's forms that set a password, each with a line in the journal."""

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordChangeView
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from unfold.forms import AdminOwnPasswordChangeForm, AdminPasswordChangeForm

from accounts import accounts, sign_ins
from accounts.accounts import InvalidCredentials
from shop.admin_base.classes import refusals_as_form_errors
from shop.http import client_address


class JournaledPasswordMixin:
    """A form that sets a password and records that in the journal."""

    @transaction.atomic
    def save(self, commit: bool = True) -> User:
        user: User = super().save(commit)  # type: ignore[misc]
        accounts.note_change("password_changed", user.pk, after={"has_password": user.has_usable_password()})
        return user


class PasswordForm(JournaledPasswordMixin, AdminPasswordChangeForm):
    """Sets the password of another account."""


class OwnPasswordForm(JournaledPasswordMixin, AdminOwnPasswordChangeForm):
    """Sets the operator's own password; guesses of the old one are throttled like sign-ins."""

    def __init__(self, *args: Any, address: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._address = address

    def clean_old_password(self) -> str:
        password: str = self.cleaned_data["old_password"]
        try:
            with refusals_as_form_errors(InvalidCredentials):
                sign_ins.check_own_password(account=self.user, password=password, address=self._address)
        except InvalidCredentials:
            wrong = self.error_messages["password_incorrect"]
            raise forms.ValidationError(wrong, code="password_incorrect") from None
        return password


def change_own_password(request: HttpRequest) -> HttpResponseBase:
    """The admin's page to change one's own password, whose form the admin site doesn't let us choose."""
    page = PasswordChangeView.as_view(
        form_class=partial(OwnPasswordForm, address=client_address.from_request(request)),
        success_url=reverse("admin:password_change_done"),
        extra_context=admin.site.each_context(request),
    )
    return page(request)
