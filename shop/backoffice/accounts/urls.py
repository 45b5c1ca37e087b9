"""Addresses of the account's page and of its actions, below `/admin/accounts/`."""

from django.contrib import admin
from django.urls import path

from shop.backoffice.accounts import page
from shop.backoffice.accounts.actions import ACTIONS

urlpatterns = [
    path("<int:account_id>/", admin.site.admin_view(page.show), name="account-page"),
    *(
        path(f"<int:account_id>/{one.name}/", admin.site.admin_view(one.run), name=f"account-{one.name}")
        for one in ACTIONS
    ),
]
