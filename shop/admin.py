"""Admin pages of accounts, idempotency keys and the journal."""

from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import UserChangeForm
from unfold.paginator import InfinitePaginator

from shop import journal_filters
from shop.accounts import accounts
from shop.admin_site import AccountForm, JournaledChangesMixin, PasswordForm, ReadOnlyMixin
from shop.events import dead_events, journal
from shop.models import CommittedTransaction, IdempotencyKey, JournalLine

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")
DISABLE_BATCH_SIZE = 200

# User and Group are registered again below with unfold's styles; used refresh tokens need no pages.
admin.site.unregister([User, Group, *apps.get_app_config("token_blacklist").get_models()])


def is_superuser(request: HttpRequest) -> bool:
    """Whether the request is from a superuser whose account is not disabled."""
    return isinstance(request.user, User) and request.user.is_active and request.user.is_superuser


@admin.register(User)
class UserAdmin(JournaledChangesMixin, DjangoUserAdmin, ModelAdmin):
    """Accounts are disabled, never deleted, because orders and ledger entries refer to them."""

    subject = "account"

    form = UserChangeForm
    add_form = AccountForm
    change_password_form = PasswordForm
    list_display = ["username", "email", "is_active", "is_staff", "date_joined"]
    actions = ["disable"]
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    @admin.action(description="Disable the selected accounts", permissions=["change"])
    def disable(self, request: HttpRequest, selected: "QuerySet[User]") -> None:
        """Disable accounts in batches, each in a transaction of its own: all accounts may be selected."""
        seen, disabled, last = 0, 0, 0
        while users := list(selected.filter(pk__gt=last).order_by("pk")[:DISABLE_BATCH_SIZE]):
            allowed = [user.pk for user in users if self.has_change_permission(request, user)]
            disabled += accounts.disable(account_ids=allowed, keeping={request.user.pk})
            seen, last = seen + len(users), users[-1].pk
        self.message_user(request, f"{disabled} disabled: their tokens are refused within five seconds.")
        if left := seen - disabled:
            self.message_user(request, f"{left} not changed.", level=messages.WARNING)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only superusers grant permissions; otherwise staff could make themselves superusers."""
        own = super().get_readonly_fields(request, obj)
        return own if is_superuser(request) else (*own, *RIGHTS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Only superusers change staff accounts: with a new password come the account's permissions."""
        if obj is not None and (obj.is_staff or obj.is_superuser) and not is_superuser(request):
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


@admin.register(Group)
class GroupAdmin(JournaledChangesMixin, DjangoGroupAdmin, ModelAdmin):
    """Sets of permissions. Only superusers change them: members could grant themselves every permission."""

    subject = "group"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return is_superuser(request)

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        self.delete_queryset(request, Group.objects.filter(pk=obj.pk))

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Group]") -> None:
        """Record the groups' permissions and members in the journal."""
        for group in queryset.select_for_update():
            rights = sorted(map(str, group.permissions.all()))
            members = sorted(group.user_set.values_list("pk", flat=True))
            journal.note(
                what="group.deleted",
                subject=f"group {group.pk}",
                before={"name": group.name, "permissions": rights, "members": members},
                is_internal=True,
            )
        queryset.delete()


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["id", "account", "status", "reference", "created_at"]
    list_filter = ["status", "created_at"]
    list_select_related = ["account"]
    search_fields = ["=account__username", "=key_hash"]
    ordering = ["-id"]
    show_full_result_count = False


@admin.register(CommittedTransaction)
class CommittedTransactionAdmin(ReadOnlyMixin, ModelAdmin):
    """Marks of the last day's transactions that must be committed once."""

    list_display = ["id", "at"]
    list_filter = ["at"]
    search_fields = ["=id"]
    ordering = ["-at"]
    paginator = InfinitePaginator
    show_full_result_count = False


@admin.register(JournalLine)
class JournalLineAdmin(ReadOnlyMixin, ModelAdmin):
    """The journal, newest first. It is large, so all filters use indexes."""

    list_display = ["at", "what", "subject", "actor_label", "order_id", "delivery_status", "detail"]
    list_filter = [
        journal_filters.ByActor,
        journal_filters.ByWhat,
        journal_filters.Since,
        journal_filters.Before,
        ("actor", journal_filters.KindOfActor),
        ("delivery", journal_filters.EventDelivery),
    ]
    list_filter_submit = True
    search_fields = ["subject", "order_id"]
    search_help_text = "An order's id, or a subject: product 7"
    ordering = ["-id"]
    actions = ["replay"]
    paginator = InfinitePaginator
    show_full_result_count = False

    @display(description="by")
    def actor_label(self, line: JournalLine) -> str:
        return f"{line.get_actor_display()} {line.actor_name or line.actor_id or ''}".strip()

    @display(description="event", label={"dead": "danger", "queued": "warning"})
    def delivery_status(self, line: JournalLine) -> str:
        return line.delivery

    @admin.action(description="Deliver the selected dead events again", permissions=["replay"])
    def replay(self, request: HttpRequest, selected: "QuerySet[JournalLine]") -> None:
        replayed = dead_events.replay(list(selected.values_list("pk", flat=True)))
        self.message_user(request, f"{len(replayed)} queued again: they are delivered within seconds.")

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("shop.change_journalline")

    def get_search_results(
        self, request: HttpRequest, lines: "QuerySet[JournalLine]", search_term: str
    ) -> "tuple[QuerySet[JournalLine], bool]":
        """The lines of one order, or of one subject."""
        term = search_term.strip()
        if not term:
            return lines, False
        try:
            return lines.filter(order_id=UUID(term)), False
        except ValueError:
            return lines.filter(subject=term), False
