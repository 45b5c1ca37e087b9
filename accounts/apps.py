"""The registration of the app, and of django-otp's app with the authenticator apps of staff."""

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.apps import DefaultConfig

OTP_FIELDS = {
    "user": (_("user"), _("The user that this device belongs to.")),
    "created_at": (
        _("created at"),
        _("The date and time when this device was initially created in the system."),
    ),
    "last_used_at": (_("last used at"), _("The most recent date and time this device was used.")),
    "throttling_failure_count": (_("wrong codes in a row"), _("Number of successive failed attempts.")),
}
"""Those that the admin shows, by name. The help texts are django-otp's, or a migration would be missing."""


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")
    default = True

    def ready(self) -> None:
        from accounts import permissions
        from accounts.tokens import sign_outs, token_pairs
        from foundation.operations import housekeeping

        post_migrate.connect(permissions.create, sender=apps.get_app_config("auth"))
        housekeeping.SWEEPERS += [token_pairs.delete_expired_tokens, sign_outs.delete_expired_sessions]
        # What each app stores about accounts.
        autodiscover_modules("personal_data")


class OneTimeCodesConfig(DefaultConfig):
    """Gives django-otp's app, and what the admin shows of it, texts that can be translated."""

    verbose_name = _("One-time codes")

    def ready(self) -> None:
        options = self.get_model("TOTPDevice")._meta
        options.verbose_name = _("authenticator app")
        options.verbose_name_plural = _("authenticator apps")
        for name, (label, help_text) in OTP_FIELDS.items():
            field = options.get_field(name)
            field.verbose_name = label
            field.help_text = help_text
