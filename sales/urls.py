"""The app's addresses under /api/v1."""

from django.urls import path

from sales import api

urlpatterns = [
    path("sale-entries/<uuid:entry_id>", api.OneSaleEntry.as_view(), name="sale-entry"),
    path("sales/<int:sale_id>/entries", api.SaleEntries.as_view()),
    path("sales", api.Sales.as_view()),
    path("sales/<int:sale_id>", api.OneSale.as_view()),
    path("sales/<int:sale_id>/pause", api.PauseSale.as_view()),
    path("sales/<int:sale_id>/resume", api.ResumeSale.as_view()),
    path("sales/<int:sale_id>/draw", api.SaleDraw.as_view()),
]
