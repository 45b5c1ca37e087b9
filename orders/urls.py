"""The app's URLs under /api/v1."""

from django.urls import path

from orders import api

urlpatterns = [
    path("orders", api.Orders.as_view()),
    path("orders/<uuid:order_id>", api.OneOrder.as_view()),
    path("orders/<uuid:order_id>/cancel", api.CancelOrder.as_view()),
    path("orders/<uuid:order_id>/refunds", api.OrderRefunds.as_view()),
    path("orders/<uuid:order_id>/timeline", api.OrderTimeline.as_view()),
    path("payments", api.Payments.as_view()),
    path("wallet/top-ups", api.TopUps.as_view()),
    path("webhooks/<str:gateway>", api.Webhooks.as_view()),
]
