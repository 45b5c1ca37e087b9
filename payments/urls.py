"""The app's addresses under /api/v1."""

from foundation.http.views import routes
from payments import api

urlpatterns = routes(
    {
        "wallet": api.Wallet,
        "wallet/entries": api.WalletEntries,
        "wallet/grants": api.Grants,
        "payments/<uuid:payment_id>": api.OnePayment,
    }
)
