"""Addresses of the account's page and of its actions, below `/admin/accounts/`."""

from django.contrib import admin
from django.urls import path

from shop.backoffice.accounts import actions, page, personal_data

urlpatterns = [
    path(f"<int:account_id>/{place}", admin.site.admin_view(view), name=f"account-{name}")
    for place, name, view in (
        ("", "page", page.show),
        ("issue-coupon/", "issue-coupon", actions.issue_coupon),
        ("grant-points/", "grant-points", actions.grant_points),
        ("sign-out/", "sign-out", actions.sign_out),
        ("disable/", "disable", actions.disable),
        ("enable/", "enable", actions.enable),
        ("export/", "export", personal_data.export),
        ("erase/", "erase", personal_data.erase),
    )
]
