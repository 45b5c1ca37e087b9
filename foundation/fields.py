"""Model fields that behave the same on every database, and those that several models have."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from foundation import clock
from foundation.values import Values

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django_stubs_ext import StrOrPromise

Row = TypeVar("Row", bound=models.Model)


class ExactCharField(models.CharField):
    """Text that is compared byte by byte; with MySQL's default collation `a` would equal `A`.

    For codes, keys and other identifiers; ASCII only.
    """

    def db_parameters(self, connection: Any) -> Values:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class CreatedAtField(models.DateTimeField):
    """The instant at which the row was inserted, by `foundation.clock`.

    Migrations see a `DateTimeField(auto_now_add=True)`, which by itself would use the host's clock.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"auto_now_add": True})

    def deconstruct(self) -> Any:
        name, _path, arguments, options = super().deconstruct()
        return name, "django.db.models.DateTimeField", arguments, options

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        if add:
            setattr(model_instance, self.attname, clock.now())
        return getattr(model_instance, self.attname)


class Dated(models.Model):
    """Rows that say when they were inserted, and when an operator changed or paused them last."""

    created_at = CreatedAtField(verbose_name=_("created at"))
    updated_at = models.DateTimeField(
        _("updated at"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("When an operator changed it last; empty: never."),
    )

    class Meta:
        abstract = True

    @property
    def changed_at(self) -> datetime:
        """When its terms, or a pause, were written last; at first when it was inserted."""
        return self.updated_at or self.created_at


def uuid_key(name: "StrOrPromise | None" = None) -> "models.UUIDField[Any, Any]":
    """A primary key in order of creation (UUIDv7), so that inserts go to the end of the table.

    `name` is what people read, where the field's own name is not `id`.
    """
    return models.UUIDField(name, primary_key=True, default=uuid7, editable=False)


def optional_instant(
    name: "StrOrPromise", **options: Any
) -> "models.DateTimeField[datetime | None, datetime | None]":
    """An instant that has not come yet, or never comes, while it is null."""
    return models.DateTimeField(name, null=True, blank=True, **options)


def protected_key(to: type[Row], name: "StrOrPromise", **options: Any) -> "models.ForeignKey[Row, Row]":
    """The key of a row that can't be deleted before this one."""
    return models.ForeignKey(to, verbose_name=name, on_delete=models.PROTECT, **options)


def account_key(name: "StrOrPromise", **options: Any) -> "models.ForeignKey[User, User]":
    """The key of an account: accounts are erased, and never deleted."""
    return models.ForeignKey(settings.AUTH_USER_MODEL, verbose_name=name, on_delete=models.PROTECT, **options)
