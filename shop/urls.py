"""All URLs of the project."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

import coupons.urls
import inventory.urls
import orders.urls
import payments.urls
from shop import admin_site
from shop.accounts_api import urls
from shop.http import openapi_pages
from shop.operations import health, metrics

# One flat list, the busiest first: each level, and each pattern before the matching one, costs time in every
# call.
API = [
    *coupons.urls.urlpatterns,
    *orders.urls.urlpatterns,
    *inventory.urls.urlpatterns,
    *payments.urls.urlpatterns,
    *urls.urlpatterns,
]
urlpatterns = [
    path("api/v1/", include(API)),
    path("", RedirectView.as_view(url="/api/docs/")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("admin/password_change/", admin.site.admin_view(admin_site.change_own_password, cacheable=True)),
    path("admin/", admin.site.urls),
    path("api/schema/", openapi_pages.document, name="schema"),
    path("api/docs/", openapi_pages.Pages.as_view()),
]
handler400 = "shop.http.problems.bad_request"
handler403 = "shop.http.problems.permission_denied"
handler404 = "shop.http.problems.not_found"
handler500 = "shop.http.problems.server_error"
