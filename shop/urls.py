"""Every address of the project."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

import coupons.urls
import inventory.urls
import orders.urls
import payments.urls
from shop import account_urls, documentation, health, metrics, operators

# One flat list, the busiest first: each level and each pattern before the right one costs every call.
API = [
    *coupons.urls.urlpatterns,
    *orders.urls.urlpatterns,
    *inventory.urls.urlpatterns,
    *payments.urls.urlpatterns,
    *account_urls.urlpatterns,
]
urlpatterns = [
    path("api/v1/", include(API)),
    path("", RedirectView.as_view(url="/api/docs/")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("admin/password_change/", admin.site.admin_view(operators.change_own_password, cacheable=True)),
    path("admin/", admin.site.urls),
    path("api/schema/", documentation.document, name="schema"),
    path("api/docs/", documentation.Pages.as_view()),
]
handler400 = "shop.problems.bad_request"
handler403 = "shop.problems.permission_denied"
handler404 = "shop.problems.not_found"
handler500 = "shop.problems.server_error"
