"""The registration of django-otp's app with the authenticator apps of staff, which has no translations."""

from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.apps import DefaultConfig

FIELDS = {
    "user": _("user"),
    "name": _("name"),
    "confirmed": _("confirmed"),
    "created_at": _("created at"),
    "last_used_at": _("last used at"),
    "throttling_failure_count": _("wrong codes in a row"),
}


class OneTimeCodesConfig(DefaultConfig):
    """Gives the app and what the admin shows of it names that can be translated, and no help texts."""

    verbose_name = _("One-time codes")

    def ready(self) -> None:
        super().ready()
        device = self.get_model("TOTPDevice")
        device._meta.verbose_name = _("authenticator app")
        device._meta.verbose_name_plural = _("authenticator apps")
        for name, text in FIELDS.items():
            field = device._meta.get_field(name)
            field.verbose_name, field.help_text = text, ""
