"""The app's addresses under /api/v1."""

from django.urls import path

from payments import api

urlpatterns = [
    path("wallet", api.Wallet.as_view()),
    path("wallet/entries", api.WalletEntries.as_view()),
    path("wallet/grants", api.Grants.as_view()),
    path("payments/<uuid:payment_id>", api.OnePayment.as_view()),
]
