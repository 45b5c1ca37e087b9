"""All URLs of the project."""

from django.contrib import admin
from django.urls import include, path
from django.views.i18n import set_language

import accounts.urls
import coupons.urls
import events.urls
import inventory.urls
import orders.urls
import payments.urls
import sales.urls
from accounts.signing_in import sign_in_page
from demo import storefront, welcome_page
from foundation.http.openapi import openapi_pages
from foundation.http.pages import middleware
from foundation.operations import health, metrics

# One flat list, the busiest first: each level, and each pattern before the matching one, costs time in every
# call.
API = [
    *coupons.urls.urlpatterns,
    *orders.urls.urlpatterns,
    *sales.urls.urlpatterns,
    *inventory.urls.urlpatterns,
    *payments.urls.urlpatterns,
    *accounts.urls.urlpatterns,
    *events.urls.urlpatterns,
]
urlpatterns = [
    path("api/v1/", include(API)),
    path("", welcome_page.page, name="welcome"),
    path("demo/", storefront.storefront, name="storefront"),
    # Metrics have these pages by the names that they had in release 2.
    path("healthz", health.healthz, name="shop.operations.health.healthz"),
    path("readyz", health.readyz, name="shop.operations.health.readyz"),
    path(middleware.METRICS_PATH[1:], metrics.metrics, name="shop.operations.metrics.metrics"),
    path("admin/login/", sign_in_page.sign_in),
    path("admin/language/", set_language, name="set_language"),
    path("admin/one-time-codes/", sign_in_page.set_up, name="operator_otp_setup"),
    path("admin/password_change/", admin.site.admin_view(sign_in_page.change_own_password, cacheable=True)),
    path("admin/", include("backoffice.urls")),
    path("admin/", admin.site.urls),
    path("api/schema/", openapi_pages.document, name="schema"),
    path("api/docs/", openapi_pages.swagger, name="shop.http.openapi.openapi_pages.swagger"),
]
handler400 = "foundation.http.problems.bad_request"
handler403 = "foundation.admin_base.display.permission_denied"
handler404 = "foundation.admin_base.display.not_found"
handler500 = "foundation.http.problems.server_error"
