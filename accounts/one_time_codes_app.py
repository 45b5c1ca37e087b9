"""The registration of django-otp's app with the authenticator apps of staff, which has no translations."""

from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.apps import DefaultConfig

FIELDS = {
    "user": (_("user"), _("The user that this device belongs to.")),
    "created_at": (
        _("created at"),
        _("The date and time when this device was initially created in the system."),
    ),
    "last_used_at": (_("last used at"), _("The most recent date and time this device was used.")),
    "throttling_failure_count": (_("wrong codes in a row"), _("Number of successive failed attempts.")),
}
"""Those that the admin shows, by name. The help texts are django-otp's, or a migration would be missing."""


class OneTimeCodesConfig(DefaultConfig):
    """Gives the app, and what the admin shows of it, texts that can be translated."""

    verbose_name = _("One-time codes")

    def ready(self) -> None:
        super().ready()
        device = self.get_model("TOTPDevice")
        device._meta.verbose_name = _("authenticator app")
        device._meta.verbose_name_plural = _("authenticator apps")
        for name, (label, help_text) in FIELDS.items():
            field = device._meta.get_field(name)
            field.verbose_name, field.help_text = label, help_text
