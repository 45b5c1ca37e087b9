"""Signing in to the operators' pages: name, password and one-time code; and the pages that set these.

Signing in and setting codes up are as throttled and journaled as the API's sign-in. A staff account without
one-time codes, where they are required, reaches the set-up page by its right password and in no other way.
"""

import textwrap
from base64 import b32encode
from functools import partial
from typing import Any

import segno
from django import forms
from django.contrib import admin, auth, messages
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django_otp.plugins.otp_totp.models import TOTPDevice, default_key
from unfold.forms import AdminOwnPasswordChangeForm, AdminPasswordChangeForm, AuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

from accounts import accounts
from accounts.signing_in import second_factor, sign_ins
from accounts.signing_in.middleware import COUNTED_KEY
from foundation import clock
from foundation.admin_base.classes import form_error
from foundation.admin_base.display import admin_page
from foundation.errors import FirstcomeError
from foundation.http import client_address
from foundation.normalization import spellings
from foundation.values import Values

SETUP_KEY = "second_factor_setup"
SETUP_SECONDS = 600
LONGEST_CODE = 32
FEW_BACKUP_CODES = 3
VERIFIED_KEY = "shop.verified"
"""In the `META` of a sign-in that succeeded, what its one-time code was; None if it needed none."""
SETUP_EXPIRED = _("The set-up took too long, or was finished elsewhere: sign in again.")


class CodeField(forms.CharField):
    """A one-time code, which browsers and password managers fill in and don't store."""

    def __init__(self, **kwargs: Any) -> None:
        attributes = {"autocomplete": "one-time-code", "spellcheck": "false", "autocapitalize": "off"}
        widget = forms.TextInput(attrs=attributes | {"class": " ".join(BASE_INPUT_CLASSES)})
        super().__init__(max_length=LONGEST_CODE, label=_("One-time code"), widget=widget, **kwargs)


class SignInForm(AuthenticationForm):
    """Signs in as the API does, with the same throttling of guesses and the same lines in the journal."""

    error_messages = AuthenticationForm.error_messages | {
        "invalid_login": _("No staff account has this username and password.")
    }
    otp = CodeField(
        required=False,
        help_text=_(
            "From your authenticator app, or a backup code. Leave it empty if you have not set up codes yet."
        ),
    )

    def clean(self) -> Values:
        username = self.cleaned_data.get("username")
        password = self.cleaned_data.get("password")
        assert self.request is not None
        if username and password:
            try:
                address = client_address.from_request(self.request)
                counted = self.request.META.get(COUNTED_KEY)
                if counted is None or username not in spellings(counted):
                    # Also for a form of parts, in which the web server has read another name or none.
                    sign_ins.count_attempt(username, address)
                signed_in = sign_ins.sign_in(
                    username=username,
                    password=password,
                    otp=self.cleaned_data.get("otp"),
                    address=address,
                    is_operator=True,
                )
                self.user_cache = signed_in.account
                self.request.META[VERIFIED_KEY] = signed_in.verified
            except accounts.InvalidCredentials:
                raise self.get_invalid_login_error() from None
            except second_factor.EnrolmentRequired:
                raise
            except FirstcomeError as error:
                raise form_error(error) from None
        return self.cleaned_data


class SetupForm(forms.Form):
    """The authenticator app's first code."""

    otp = CodeField(help_text=_("The six digits that the app shows now."))


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
            sign_ins.check_own_password(account=self.user, password=password, address=self._address)
        except accounts.InvalidCredentials:
            wrong = self.error_messages["password_incorrect"]
            raise forms.ValidationError(wrong, code="password_incorrect") from None
        except FirstcomeError as error:
            raise form_error(error) from None
        return password


def sign_in(request: HttpRequest) -> HttpResponseBase:
    """Django's page to sign in to the admin, which also leads to setting up one-time codes."""
    try:
        response = admin.site.login(request)
    except second_factor.EnrolmentRequired as required:
        page = LoginView()
        page.setup(request)
        # A new secret, under a new key, for the account whose password was right.
        request.session.flush()
        request.session[SETUP_KEY] = {
            "account_id": required.account.pk,
            "credential": required.account.get_session_auth_hash(),
            "secret": default_key(),
            "until": clock.seconds() + SETUP_SECONDS,
            "next_page": page.get_redirect_url() or reverse("admin:index"),
        }
        request.session.set_expiry(SETUP_SECONDS)
        return redirect("operator_otp_setup")
    if response.status_code != 302 or VERIFIED_KEY not in request.META:
        return response
    _end_setup(request)
    if verified := request.META[VERIFIED_KEY]:
        request.session[second_factor.SESSION_KEY] = verified.device_id
        if verified.method is second_factor.Method.BACKUP_CODE:
            left = verified.backup_codes_left
            used = gettext("You used a backup code; %(left)s are left.") % {"left": left}
            few = gettext(
                "Before they run out, ask a superuser to reset your one-time codes, and set them up again."
            )
            messages.warning(request, f"{used} {few}" if left <= FEW_BACKUP_CODES else used)
    return response


@never_cache
@csrf_protect
@sensitive_post_parameters("otp")
def set_up(request: HttpRequest) -> HttpResponseBase:
    """The page that sets up one-time codes, and shows the backup codes once it is done."""
    setup: Values = request.session.get(SETUP_KEY, {})
    account = _account_of(setup)
    if account is None:
        _end_setup(request)
        if request.method == "POST":
            messages.error(request, SETUP_EXPIRED)
        return redirect("admin:login")
    form = SetupForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        address = client_address.from_request(request)
        try:
            enrolled = sign_ins.enrol(
                account=account, secret=setup["secret"], code=form.cleaned_data["otp"], address=address
            )
        except FirstcomeError as error:
            form.add_error("otp", str(error.detail))
        else:
            auth.login(request, account)
            _end_setup(request)
            request.session[second_factor.SESSION_KEY] = enrolled.device_id
            codes = {"backup_codes": enrolled.backup_codes, "next_page": setup["next_page"]}
            return admin_page(
                request, "accounts/backup_codes.html", codes | {"title": gettext("Backup codes")}
            )
    # As people type it into an app.
    in_groups = " ".join(textwrap.wrap(b32encode(bytes.fromhex(setup["secret"])).decode(), 4))
    code = _qr_code(TOTPDevice(user=account, key=setup["secret"]).config_url)
    shown = {"form": form, "account": account, "secret": in_groups, "qr_code": code}
    return admin_page(request, "accounts/otp_setup.html", shown | {"title": gettext("Set up one-time codes")})


def change_own_password(request: HttpRequest) -> HttpResponseBase:
    """The admin's page to change one's own password, whose form the admin site doesn't let us choose."""
    page = PasswordChangeView.as_view(
        form_class=partial(OwnPasswordForm, address=client_address.from_request(request)),
        success_url=reverse("admin:password_change_done"),
        extra_context=admin.site.each_context(request),
    )
    return page(request)


def _end_setup(request: HttpRequest) -> None:
    """Forget the session's set-up, if it has one; a session that goes on lasts as long as any other."""
    if request.session.pop(SETUP_KEY, None) is not None:
        request.session.set_expiry(None)


def _account_of(setup: Values) -> User | None:
    """The account that sets codes up; None if that took too long, or the account is not active staff any
    more, or has another password.
    """
    if clock.seconds() >= setup.get("until", 0):
        return None
    account = User.objects.filter(pk=setup["account_id"], is_active=True, is_staff=True).first()
    return account if account and account.get_session_auth_hash() == setup["credential"] else None


def _qr_code(url: str) -> SafeString:
    """The QR code as an SVG, dark on white in any theme, because many apps read no other."""
    drawn: str = segno.make(url, error="m").svg_inline(
        scale=4, border=4, light="white", title=gettext("QR code for the authenticator app")
    )
    return mark_safe(drawn)  # noqa: S308 - segno draws it, and escapes the title
