"""The app's paths under /api/v1."""

from django.urls import path

from shop.feed_api import api, webhook_api

ONE = "webhook-endpoints/<uuid:endpoint_id>"
urlpatterns = [
    path("events", api.Events.as_view(), name="events"),
    path("webhook-endpoints", webhook_api.WebhookEndpoints.as_view(), name="webhook-endpoints"),
    path(ONE, webhook_api.OneWebhookEndpoint.as_view(), name="webhook-endpoint"),
    path(f"{ONE}/deliveries", webhook_api.WebhookDeliveries.as_view(), name="webhook-deliveries"),
    path(
        f"{ONE}/deliveries/<int:delivery_id>/resend",
        webhook_api.ResendDelivery.as_view(),
        name="webhook-delivery-resend",
    ),
    path(f"{ONE}/rotate-secret", webhook_api.RotateWebhookSecret.as_view(), name="webhook-endpoint-rotate"),
    path(f"{ONE}/test", webhook_api.TestWebhookEndpoint.as_view(), name="webhook-endpoint-test"),
]
