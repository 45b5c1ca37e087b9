"""The registration of django-otp's app with the authenticator apps of staff, which has no translations."""

from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.apps import DefaultConfig

# The help texts are django-otp's own: any other one would be a change that its migrations lack.
FIELDS = {
    "user": (_("user"), _("The user that this device belongs to.")),
    "name": (_("name"), _("The human-readable name of this device.")),
    "confirmed": (_("confirmed"), _("Is this device ready for use?")),
    "created_at": (
        _("created at"),
        _("The date and time when this device was initially created in the system."),
    ),
    "last_used_at": (_("last used at"), _("The most recent date and time this device was used.")),
    "throttling_failure_count": (_("wrong codes in a row"), _("Number of successive failed attempts.")),
}


class OneTimeCodesConfig(DefaultConfig):
    """Gives the app and what the admin shows of it names and help texts that can be translated."""

    verbose_name = _("One-time codes")

    def ready(self) -> None:
        super().ready()
        device = self.get_model("TOTPDevice")
        device._meta.verbose_name = _("authenticator app")
        device._meta.verbose_name_plural = _("authenticator apps")
        for name, (text, help_text) in FIELDS.items():
            field = device._meta.get_field(name)
            field.verbose_name, field.help_text = text, help_text
