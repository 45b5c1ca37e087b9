"""The back office's addresses below `/admin/`, in front of those of the admin itself."""

from collections.abc import Callable

from django.contrib import admin
from django.http.response import HttpResponseBase
from django.urls import include, path, re_path

from backoffice import accounting_exports, campaign_page, list_exports, navigation, sales_page, sales_report
from backoffice.accounts import page as account_page
from backoffice.accounts.actions import ACTIONS
from backoffice.board import page as board_page
from backoffice.products import page as product_page
from backoffice.search import page as search_page

as_operator = admin.site.admin_view
BOARD = [
    path("", as_operator(board_page.board), name="page"),
    # These answer programs: a refusal is no redirect to the sign-in page.
    path("figures/", board_page.figures, name="figures"),
    *(
        path(f"{kind}/<int:pk>/{action}/", board_page.press, {"kind": kind, "action": action})
        for kind, action in board_page.BUTTONS
    ),
]
PAGES: dict[str, tuple[Callable[..., HttpResponseBase], str]] = {
    "accounts/<int:account_id>/": (account_page.show, "account-page"),
    **{f"accounts/<int:account_id>/{one.name}/": (one.run, f"account-{one.name}") for one in ACTIONS},
    "products/<int:product_id>/": (product_page.show, "product-page"),
    "<slug:app_label>/<slug:model_name>/export/": (list_exports.export_list, "export-list"),
    "campaigns/<int:campaign_id>/": (campaign_page.campaign_results, "campaign-results"),
    "campaigns/<int:campaign_id>/figures/": (campaign_page.campaign_figures, "campaign-figures"),
    # In the place of unfold's search, whose results are cached and look for parts of words.
    "search/": (search_page.search, "operator-search"),
    "search/hits/": (search_page.hits_while_typed, "operator-search-hits"),
    "engine-room/": (navigation.engine_room, "engine-room"),
    "reports/sales/": (sales_page.sales, "report-sales"),
    "reports/sales/figures/": (sales_page.sales_figures, "report-sales-figures"),
    "reports/sales/csv/": (sales_report.sales_csv, "report-sales-csv"),
    "reports/exports/": (accounting_exports.show, "report-exports"),
    "reports/exports/sizes/": (accounting_exports.sizes, "report-exports-sizes"),
}
urlpatterns = [
    path("board/", include((BOARD, "board"))),
    re_path(
        rf"^ledger/(?P<kind>{'|'.join(sales_report.LEDGER_KINDS)})/balance/$",
        as_operator(sales_report.ledger_balance),
        name="ledger-balance",
    ),
    *(
        path(
            f"reports/exports/{name}/", as_operator(accounting_exports.send), {"name": name}, f"report-{name}"
        )
        for name in accounting_exports.EXPORTS
    ),
    *(path(address, as_operator(view), name=name) for address, (view, name) in PAGES.items()),
]
