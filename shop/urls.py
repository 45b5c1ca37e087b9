"""All URLs of the project."""

from django.contrib import admin
from django.urls import include, path, re_path

import coupons.urls
import inventory.urls
import orders.urls
import payments.urls
import sales.urls
from shop import admin_site, storefront, welcome_page
from shop.accounts_api import urls
from shop.api_keys_api import urls as api_keys_urls
from shop.backoffice import campaign_page, ledger_balance, list_exports, sales_report
from shop.backoffice.search import page as search_page
from shop.feed_api import urls as feed_urls
from shop.http.openapi import openapi_pages
from shop.http.pages import middleware
from shop.operations import health, metrics
from shop.operators import sign_in as operator_sign_in

# One flat list, the busiest first: each level, and each pattern before the matching one, costs time in every
# call.
API = [
    *coupons.urls.urlpatterns,
    *orders.urls.urlpatterns,
    *sales.urls.urlpatterns,
    *inventory.urls.urlpatterns,
    *payments.urls.urlpatterns,
    *urls.urlpatterns,
    *feed_urls.urlpatterns,
    *api_keys_urls.urlpatterns,
]
as_operator = admin.site.admin_view
BACKOFFICE = [
    path(
        "admin/<slug:app_label>/<slug:model_name>/export/",
        as_operator(list_exports.export_list),
        name="export-list",
    ),
    path(
        "admin/campaigns/<int:campaign_id>/",
        as_operator(campaign_page.campaign_results),
        name="campaign-results",
    ),
    path(
        "admin/campaigns/<int:campaign_id>/figures/",
        as_operator(campaign_page.campaign_figures),
        name="campaign-figures",
    ),
    # In the place of unfold's search, whose results are cached and look for parts of words.
    path("admin/search/", as_operator(search_page.search), name="operator-search"),
    path("admin/search/hits/", as_operator(search_page.hits_while_typed), name="operator-search-hits"),
    re_path(
        rf"^admin/ledger/(?P<kind>{'|'.join(ledger_balance.KINDS)})/balance/$",
        as_operator(ledger_balance.ledger_balance),
        name="ledger-balance",
    ),
    path("admin/reports/sales/", as_operator(sales_report.sales), name="report-sales"),
    path(
        "admin/reports/sales/figures/", as_operator(sales_report.sales_figures), name="report-sales-figures"
    ),
    path("admin/reports/sales/csv/", as_operator(sales_report.sales_csv), name="report-sales-csv"),
]
urlpatterns = [
    path("api/v1/", include(API)),
    path("", welcome_page.page, name="welcome"),
    path("demo/", storefront.storefront, name="storefront"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path(middleware.METRICS_PATH[1:], metrics.metrics),
    path("admin/login/", operator_sign_in.sign_in),
    path("admin/one-time-codes/", operator_sign_in.set_up, name="operator_otp_setup"),
    path("admin/password_change/", admin.site.admin_view(admin_site.change_own_password, cacheable=True)),
    path("admin/board/", include("shop.backoffice.board.urls")),
    path("admin/accounts/", include("shop.backoffice.accounts.urls")),
    path("admin/products/", include("shop.backoffice.products.urls")),
    *BACKOFFICE,
    path("admin/", admin.site.urls),
    path("api/schema/", openapi_pages.document, name="schema"),
    path("api/docs/", openapi_pages.swagger),
]
handler400 = "shop.http.problems.bad_request"
handler403 = "shop.operators.display.permission_denied"
handler404 = "shop.operators.display.not_found"
handler500 = "shop.http.problems.server_error"
