"""Sign-outs, revoked tokens, identities at a provider, and API keys with their secrets."""

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, F, Q, UniqueConstraint
from django.utils.translation import gettext, gettext_lazy as _

from foundation.fields import ExactCharField, account_key, optional_instant


class SignOut(models.Model):
    """When an account was signed out everywhere last: tokens issued before that are refused.

    `at` increases with each sign-out of the account, and stands in the tokens that are issued after it.
    """

    account = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="+",
        verbose_name=_("account"),
    )
    at = models.DateTimeField(_("at"), db_index=True)
    # One sign-in that it did not end: `accounts.tokens.sign_outs.mark_of` its family.
    kept = ExactCharField(
        _("kept sign-in"), max_length=128, blank=True, default="", db_default="", editable=False
    )

    class Meta:
        verbose_name = _("sign out")
        verbose_name_plural = _("sign outs")


class RevokedToken(models.Model):
    """The id of a refresh token that was used, or of a family that was revoked: refused until it expires."""

    id = ExactCharField(_("id"), max_length=64, primary_key=True)
    revoked_at = models.DateTimeField(_("revoked at"))
    expires_at = models.DateTimeField(_("expires at"), db_index=True)

    class Meta:
        verbose_name = _("revoked token")
        verbose_name_plural = _("revoked tokens")


class ExternalIdentity(models.Model):
    """Whom the identity provider names by `sub`, and the account that was made at their first call."""

    account = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="external_identity",
        verbose_name=_("account"),
    )
    issuer = ExactCharField(_("issuer"), max_length=255)
    external_id = ExactCharField(_("external id"), max_length=255)

    class Meta:
        verbose_name = _("external identity")
        verbose_name_plural = _("external identities")
        constraints = [
            UniqueConstraint(
                fields=["external_id", "issuer"], name="accounts_externalidentity_once_per_issuer"
            )
        ]

    def __str__(self) -> str:
        return self.external_id


class ApiKey(models.Model):
    """A key by which a program calls the API, with some of the rights of the account that made it.

    `prefix` is the part of its secret that may be shown. A key that was revoked stays, without secrets: the
    journal names it.
    """

    maker = account_key(_("made by"), related_name="+")
    name = models.CharField(_("name"), max_length=100)
    prefix = ExactCharField(_("prefix"), max_length=16, unique=True)
    scopes = models.JSONField(_("scopes"))
    created_at = models.DateTimeField(_("created at"))
    expires_at = optional_instant(_("expires at"))
    revoked_at = optional_instant(_("revoked at"))
    last_used_at = optional_instant(_("last used at"), help_text=_("Written once a minute at most."))

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        permissions = [("act_apikey", "Can have API keys act for accounts")]
        constraints = [
            CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("created_at")),
                name="accounts_apikey_expires_after_its_creation",
            )
        ]

    def __str__(self) -> str:
        return self.name or gettext("key %(id)s") % {"id": self.pk}


class ApiKeySecret(models.Model):
    """A secret of an API key, as its SHA-256: the current one, or a former one until `valid_until`."""

    key = models.ForeignKey(
        ApiKey, on_delete=models.CASCADE, db_index=False, related_name="secrets", verbose_name=_("API key")
    )
    secret_hash = ExactCharField(_("secret hash"), max_length=64, unique=True)
    # NULL for a former one: a unique key counts these as different.
    is_current = models.BooleanField(_("is the current secret"), null=True)
    valid_until = optional_instant(_("valid until"))
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        verbose_name = _("secret of an API key")
        verbose_name_plural = _("secrets of API keys")
        constraints = [
            UniqueConstraint(fields=["key", "is_current"], name="accounts_apikeysecret_one_current_per_key"),
            CheckConstraint(
                # A comparison with NULL alone would be unknown, which a CHECK lets pass.
                condition=Q(is_current__isnull=False, is_current=True, valid_until__isnull=True)
                | Q(is_current__isnull=True, valid_until__isnull=False),
                name="accounts_apikeysecret_former_ones_end",
            ),
        ]
