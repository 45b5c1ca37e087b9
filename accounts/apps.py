"""The app's registration."""

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")

    def ready(self) -> None:
        from accounts import permissions, sign_outs, tokens
        from shop.operations import housekeeping

        post_migrate.connect(permissions.create, sender=apps.get_app_config("auth"))
        housekeeping.SWEEPERS += [tokens.delete_expired_tokens, sign_outs.delete_expired_sessions]
        # What each app stores about accounts.
        autodiscover_modules("personal_data")
