"""Every address of the project."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from shop import documentation, health, metrics

API = [
    path("", include("shop.account_urls")),
    path("", include("coupons.urls")),
    path("", include("inventory.urls")),
    path("", include("payments.urls")),
    path("", include("orders.urls")),
]
urlpatterns = [
    path("", RedirectView.as_view(url="/api/docs/")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("admin/", admin.site.urls),
    path("api/schema/", documentation.document, name="schema"),
    path("api/docs/", documentation.Pages.as_view()),
    path("api/v1/", include(API)),
]
handler400 = "shop.problems.bad_request"
handler403 = "shop.problems.permission_denied"
handler404 = "shop.problems.not_found"
handler500 = "shop.problems.server_error"
