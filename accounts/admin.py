"""Admin pages of accounts, groups, one-time codes, sign-outs and API keys, whose secrets are shown once."""

from collections.abc import Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin, UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import translation
from django.utils.functional import cached_property
from django.utils.translation import gettext, gettext_lazy as _, ngettext
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.admin import ModelAdmin
from unfold.forms import UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from accounts import accounts, members, permissions
from accounts.api_keys import keys
from accounts.models import ApiKey
from accounts.operating import approvals_admin as _approvals_admin  # noqa: F401 - registers its pages
from accounts.rights_in_words import SCOPES, UNUSED_SCOPES, describe_group, describe_rights
from accounts.signing_in import second_factor
from accounts.signing_in.sign_in_page import PasswordForm
from foundation import clock, form_fields, journal, scopes
from foundation.admin_base.actions import Action, NewForm, button, calling, list_action
from foundation.admin_base.classes import JournaledChangesMixin, ReadOnlyMixin
from foundation.admin_base.display import StatusLabel, status_label
from foundation.admin_base.forms import ChangeForm
from foundation.admin_base.lists import ChoiceFilter, KeysetMixin, SearchMixin, column

CHANGE_KEY = "accounts.change_apikey"
LONGEST_DAYS = 3_650
USE_OF_KEYS = _("Put it into the program, which sends it as “Authorization: Bearer”.")
RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")
MOST_FOUND = 200
DISABLING = _(
    "A disabled account is signed out within five seconds, and can't sign in. Its orders, coupons and "
    "points stay."
)

# User and Group are registered again below with unfold's styles; django-otp's pages would show the secrets of
# one-time codes.
admin.site.unregister([User, Group, TOTPDevice, StaticDevice])
admin.site.login_template = "accounts/sign_in.html"


def is_superuser(request: HttpRequest) -> bool:
    """Whether the request is from a superuser whose account is not disabled."""
    return isinstance(request.user, User) and request.user.is_active and request.user.is_superuser


def may_act_on(request: HttpRequest, account: User | None) -> bool:
    """Whether the account is a customer's, or the request a superuser's: they alone act on staff accounts."""
    is_staff = account is not None and (account.is_staff or account.is_superuser)
    return not is_staff or is_superuser(request)


class GroupsField(forms.ModelMultipleChoiceField):
    """Groups of staff, each with a sentence of what its members may do."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget

    def __init__(self, *, required: bool = True) -> None:
        groups = Group.objects.order_by("name").prefetch_related("permissions__content_type")
        super().__init__(groups, label=_("What the member may do"), required=required)

    def label_from_instance(self, obj: Group) -> str:
        return describe_group(obj)


class AccountChangeForm(ChangeForm, UserChangeForm):
    """Changes an account, and asks why."""

    groups = GroupsField(required=False)

    def clean_date_joined(self) -> Any:
        """As it is, to the microsecond, unless it was changed: the page has whole seconds."""
        name = "date_joined"
        return self.cleaned_data[name] if name in self.changed_data else self.initial[name]


class AddMemberForm(NewForm):
    username = forms.CharField(
        label=_("Username"), max_length=150, widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True})
    )
    email = forms.EmailField(label=_("E-mail address"), widget=UnfoldAdminTextInputWidget)
    groups = GroupsField()


class GroupFilter(ChoiceFilter):
    """Members of a group. Django's own filter also offers those of none, for which it joins all accounts."""

    title = _("group")
    parameter_name = "groups__id__exact"

    @cached_property
    def options(self) -> Any:  # type: ignore[override]
        members = User.groups.through.objects.all()
        return {
            str(group.pk): (group.name, Q(pk__in=members.filter(group=group).values("user_id")))
            for group in Group.objects.order_by("name")
        }


@admin.register(User)
class UserAdmin(KeysetMixin, SearchMixin, JournaledChangesMixin, DjangoUserAdmin, ModelAdmin):
    """Accounts are disabled, never deleted, because orders and ledger entries refer to them."""

    subjects = ("account", "wallet")
    form = AccountChangeForm
    add_form = UserCreationForm
    change_password_form = PasswordForm
    list_display = ["username", "email", "is_active", "rights", "date_joined"]
    exported = ["username", "email", "is_active", "is_staff", "date_joined"]
    list_prefetch_related = ["groups", "user_permissions"]
    row_page = "account-page"
    technical = ["user_permissions", "first_name", "last_name", "last_login", "date_joined"]
    list_filter = ["is_staff", "is_active", GroupFilter]
    # The change list searches only where there are fields; `search` says what it searches.
    search_fields = ["username", "email"]
    search_help_text = _("The beginning of a name or an e-mail address, or an account's number")
    actions = ["disable"]
    actions_list = ["add_member"]
    actions_detail = ["open_page", "reset_otp"]
    show_facets = admin.ShowFacets.NEVER

    @list_action(description=_("Disable the selected accounts"), permissions=["disable"])
    def disable(self, request: HttpRequest, rows: Sequence[User]) -> Action:
        title = ngettext("Disable %(count)s account", "Disable %(count)s accounts", len(rows))
        return Action(
            title=title % {"count": len(rows)},
            description=DISABLING,
            submit=_("Disable accounts"),
            perform=calling(self._disable_rows, request=request, rows=rows),
            rows=[(account, self._reason_to_keep(request, account)) for account in rows],
        )

    def _disable_rows(self, request: HttpRequest, rows: Sequence[User], reason: str) -> str:
        """Disable those that may be disabled, in one transaction, and say how many were."""
        chosen = [user.pk for user in rows if not self._reason_to_keep(request, user)]
        disabled = accounts.disable(account_ids=chosen, reason=reason)
        if left := len(rows) - disabled:
            unchanged = gettext("Accounts not changed: %(count)s.") % {"count": left}
            messages.warning(request, unchanged)
        done = gettext("Accounts disabled: %(count)s. They are signed out within five seconds.")
        return done % {"count": disabled}

    def _reason_to_keep(self, request: HttpRequest, account: User) -> str:
        """Why the account would not be disabled; empty if it would be."""
        if account.pk == request.user.pk:
            return gettext("your own account: you can't disable it")
        if not account.is_active:
            return gettext("disabled already")
        if not self.has_disable_permission(request, account):
            return gettext("staff: only a superuser can disable it")
        return ""

    rights = column(_("rights"), describe_rights)

    def list_title(self, request: HttpRequest) -> str:
        is_of_staff = request.GET.get("is_staff__exact") == "1"
        return gettext("Members") if is_of_staff else gettext("Customers")

    @button(description=_("Account's page"), icon="person", permissions=["view"])
    def open_page(self, request: HttpRequest, account: User) -> HttpResponse:
        """The page with its orders, coupons, wallet and limits."""
        return redirect("account-page", account.pk)

    def search(self, rows: "QuerySet[User]", term: str) -> "QuerySet[User]":
        """Accounts by the beginning of name or address, or by number: each by an index, so many of each."""
        return rows.filter(pk__in=accounts.find_ids(term, most=MOST_FOUND))

    @button(description=_("Add a member"), icon="person_add", permissions=["give_rights"])
    def add_member(self, request: HttpRequest) -> Action:
        return Action(
            title=gettext("Add a member of staff"),
            description=gettext("The member's first password is shown once, on the next page."),
            submit=gettext("Add the member"),
            form_class=AddMemberForm,
            perform=calling(members.create),
            once="add member",
            secret=attrgetter("password"),
            about=lambda made: [
                (_("Username"), made.account.username),
                (_("E-mail address"), made.account.email),
                (_("Sign-in"), request.build_absolute_uri(reverse("admin:login"))),
            ],
            use=_("Give this password to the member, who sets up one-time codes at the first sign-in.")
            if settings.STAFF_OTP_REQUIRED
            else _("Give this password to the member."),
            back=reverse("admin:auth_user_changelist") + "?is_staff__exact=1",
        )

    def has_give_rights_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Only superusers: with new one-time codes too comes the account."""
        return is_superuser(request)

    @button(description=_("Reset one-time codes"), icon="phonelink_erase", permissions=["give_rights"])
    def reset_otp(self, request: HttpRequest, account: User) -> Action:
        removed = gettext("The one-time codes are removed: the next sign-in sets up new ones.")
        none = gettext("This account has not set up one-time codes; nothing was done.")
        return Action(
            title=_("Reset the one-time codes of this account"),
            description=_(
                "For a lost phone. The member is signed out, and sets up new codes at the next sign-in "
                "with the password. Have the member do so at once."
            ),
            submit=_("Reset one-time codes"),
            perform=calling(second_factor.reset, account_id=account.pk),
            report=lambda is_reset: removed if is_reset else none,
            is_dangerous=True,
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without the password for those who may only view: unfold on Django 6.1 would show its hash."""
        found = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return found
        return [
            (title, how | {"fields": [name for name in how["fields"] if name != "password"]})
            for title, how in found
        ]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            # unfold's needs the password.
            options["form"] = ChangeForm
        return super().get_form(request, obj, change=change, **options)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only superusers grant permissions; otherwise staff could make themselves superusers."""
        return (*super().get_readonly_fields(request, obj), *(() if is_superuser(request) else RIGHTS))

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Only superusers change staff accounts: with a new password come the account's permissions."""
        return super().has_change_permission(request, obj) and may_act_on(request, obj)

    def has_disable_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Narrower than changing an account, whose password it can't set. Superusers alone disable staff."""
        may_disable = request.user.has_perm(permissions.DISABLE) or super().has_change_permission(
            request, obj
        )
        return may_disable and may_act_on(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


@admin.register(Group)
class GroupAdmin(JournaledChangesMixin, DjangoGroupAdmin, ModelAdmin):
    """Sets of permissions. Only superusers change them: members could grant themselves every permission."""

    form = ChangeForm
    fields = ["name", "permissions"]

    def has_add_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return is_superuser(request)

    has_change_permission = has_delete_permission = has_add_permission

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        self.delete_queryset(request, Group.objects.filter(pk=obj.pk))

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Group]") -> None:
        """Record the groups' permissions and members in the journal."""
        for group in queryset.select_for_update():
            with translation.override("en"):
                rights = sorted(map(str, group.permissions.all()))
            members = sorted(group.user_set.values_list("pk", flat=True))
            journal.note(
                what="group.deleted",
                subject=f"group {group.pk}",
                before={"name": group.name, "permissions": rights, "members": members},
                is_internal=True,
            )
        queryset.delete()


@admin.register(TOTPDevice)
class OneTimeCodesAdmin(ReadOnlyMixin, ModelAdmin):
    """Which staff accounts have set up one-time codes, and when they used them; never the secrets."""

    list_display = ["user", "created_at", "last_used_at", "throttling_failure_count", "backup_codes_left"]
    list_select_related = ["user"]
    search_fields = ["=user__username"]
    ordering = ["-id"]
    fields = list_display

    def get_queryset(self, request: HttpRequest) -> "QuerySet[TOTPDevice]":
        return super().get_queryset(request).annotate(codes_left=second_factor.backup_codes_of("user_id"))

    backup_codes_left = column(_("backup codes left"), attrgetter("codes_left"))


READ_ONLY = "read"
"""Stands in the form for every scope that only reads."""


class MakeKeyForm(NewForm):
    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True}),
        help_text=_("What it is for, such as: warehouse."),
    )
    scopes = forms.MultipleChoiceField(
        label=_("What the program may do"),
        choices=[
            (READ_ONLY, _("Read only: see everything, and change nothing.")),
            *((scope, SCOPES[scope]) for scope in scopes.ALL if scope not in UNUSED_SCOPES),
        ],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("Choose no more than it uses. It can never do what you can't."),
    )
    days = form_fields.WholeNumberField(
        label=_("Valid for days"),
        required=False,
        min_value=1,
        max_value=LONGEST_DAYS,
        initial=365,
        help_text=_("Leave it empty for a key that never expires."),
    )

    def clean_scopes(self) -> list[str]:
        chosen = self.cleaned_data["scopes"]
        reads_all = READ_ONLY in chosen
        return [one for one in scopes.ALL if one in chosen or (reads_all and one.endswith(":read"))]


def _what_it_may(key: ApiKey) -> str:
    what = " ".join(str(SCOPES.get(scope, scope)) for scope in key.scopes)
    reads = all(scope.endswith(":read") for scope in key.scopes)
    return f"{gettext('Read only')}: {what}" if reads else what


@admin.register(ApiKey)
class ApiKeyAdmin(SearchMixin, ReadOnlyMixin, ModelAdmin):
    """Keys of all accounts, revoked ones too; never their secrets."""

    subjects = ("api key",)
    list_display = ["shown_name", "state", "maker", "may", "expires_at", "last_used_at"]
    exported = ["name", "prefix", "maker", "state", "scope_list", "expires_at", "last_used_at"]
    technical = ["prefix"]
    list_select_related = ["maker"]
    list_filter = ["created_at"]
    search_fields = ["prefix"]
    search_help_text = _("The beginning of a key, such as fc_key_")
    ordering = ["-id"]
    fields = [
        "name",
        "prefix",
        "maker",
        "state",
        "may",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    ]
    actions_list = ["make"]
    actions_detail = ["rotate", "revoke"]

    def search(self, rows: "QuerySet[ApiKey]", term: str) -> "QuerySet[ApiKey]":
        """By the part of a secret that may be shown: the rest of a pasted one is not looked at."""
        return rows.filter(prefix__startswith=term[: keys.PREFIX_LENGTH])

    shown_name = column(_("name"), str)
    scope_list = column(_("scopes"), lambda key: ", ".join(key.scopes))
    may = column(_("what it may do"), _what_it_may)

    @admin.display(description=_("state"))
    def state(self, key: ApiKey) -> StatusLabel:
        is_expired = key.expires_at is not None and key.expires_at <= clock.now()
        return status_label("revoked" if key.revoked_at else "expired" if is_expired else "valid")

    @button(description=_("Make a key"), icon="add", permissions=["accounts.add_apikey"])
    def make(self, request: HttpRequest) -> Action:
        return Action(
            title=gettext("Make an API key"),
            description=gettext(
                "A program works with the shop by this key. It can do what you choose here, as long as "
                "you may do so yourself. The key is shown once, on the next page."
            ),
            submit=gettext("Make the key"),
            form_class=MakeKeyForm,
            perform=lambda data: keys.create(
                maker_id=int(str(request.user.pk)),
                name=data["name"],
                wanted_scopes=data["scopes"],
                expires_at=clock.now() + timedelta(days=data["days"]) if data["days"] else None,
                reason=data["reason"],
            ),
            once="make api key",
            secret=attrgetter("secret"),
            use=USE_OF_KEYS,
            back=reverse("admin:accounts_apikey_changelist"),
        )

    @button(description=_("New secret"), icon="autorenew", permissions=[CHANGE_KEY])
    def rotate(self, request: HttpRequest, key: ApiKey) -> Action:
        return Action(
            title=gettext("New secret for the API key “%(name)s”") % {"name": key.name},
            description=gettext(
                "The key gets a new secret, which is shown once, on the next page. The old one works "
                "for another 24 hours. If others may have it, revoke the key instead."
            ),
            submit=gettext("Make a new secret"),
            perform=calling(keys.rotate, key_id=key.pk, account_id=request.user.pk),
            once=f"rotate api key {key.pk}",
            secret=attrgetter("secret"),
            use=USE_OF_KEYS,
        )

    @button(description=_("Revoke"), icon="block", permissions=[CHANGE_KEY])
    def revoke(self, request: HttpRequest, key: ApiKey) -> Action:
        return Action(
            title=_("Revoke this API key"),
            description=_("The shop refuses the key within a second. This can't be undone."),
            submit=_("Revoke the key"),
            keep=_("Keep the key"),
            perform=calling(keys.revoke, key_id=key.pk),
            report=lambda revoked: gettext("API key %(prefix)s is revoked.") % {"prefix": revoked.prefix},
            is_dangerous=True,
        )
