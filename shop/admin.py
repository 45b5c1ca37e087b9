"""Operators' pages of accounts and idempotency keys."""

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from shop import accounts
from shop.models import IdempotencyKey
from shop.operators import ReadOnly

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")

# Used refresh tokens are for programs to refuse, not for people to read; unfold styles only its own.
admin.site.unregister([User, Group, *apps.get_app_config("token_blacklist").get_models()])


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    """Accounts are disabled, never deleted: orders and entries speak of them."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "is_active", "is_staff", "date_joined"]
    actions = ["disable"]
    show_full_result_count = False

    @admin.action(description="Disable the selected accounts", permissions=["change"])
    def disable(self, request: HttpRequest, selected: "QuerySet[User]") -> None:
        mine = [user.pk for user in selected if self.has_change_permission(request, user)]
        disabled = accounts.disable(account_ids=mine, keeping={request.user.pk})
        self.message_user(request, f"{disabled} disabled: their tokens are refused within five seconds.")
        if disabled < len(selected):
            left = len(selected) - disabled
            self.message_user(request, f"{left} left as they were.", level=messages.WARNING)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only superusers hand out rights; or who may change accounts could make themselves superuser."""
        own = super().get_readonly_fields(request, obj)
        return own if request.user.is_superuser else (*own, *RIGHTS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Superusers are changed by superusers, their passwords included."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """Sets of rights."""


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnly, ModelAdmin):
    list_display = ["id", "account", "status", "reference", "created_at"]
    list_filter = ["status", "created_at"]
    list_select_related = ["account"]
    search_fields = ["=account__username", "=key_hash"]
    ordering = ["-id"]
    show_full_result_count = False
