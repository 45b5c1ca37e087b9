"""The app's addresses under /api/v1."""

from foundation.http.views import routes
from sales import api

urlpatterns = routes(
    {
        "sale-entries/<uuid:entry_id>": api.OneSaleEntry,
        "sales/<int:sale_id>/entries": api.SaleEntries,
        "sales": api.Sales,
        "sales/<int:sale_id>": api.OneSale,
        "sales/<int:sale_id>/pause": api.PauseSale,
        "sales/<int:sale_id>/resume": api.ResumeSale,
        "sales/<int:sale_id>/draw": api.SaleDraw,
    }
)
