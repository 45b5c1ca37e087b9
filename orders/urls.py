"""The app's URLs under /api/v1."""

from foundation.http.views import routes
from orders import api

urlpatterns = routes(
    {
        "orders": api.Orders,
        "orders/<uuid:order_id>": api.OneOrder,
        "orders/<uuid:order_id>/cancel": api.CancelOrder,
        "orders/<uuid:order_id>/refunds": api.OrderRefunds,
        "orders/<uuid:order_id>/timeline": api.OrderTimeline,
        "payments": api.Payments,
        "wallet/top-ups": api.TopUps,
        "webhooks/<str:gateway>": api.Webhooks,
    }
)
