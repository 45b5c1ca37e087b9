"""The app's paths under /api/v1."""

from django.urls import path

from events import api

ONE = "webhook-endpoints/<uuid:endpoint_id>"
urlpatterns = [
    path("events", api.Events.as_view(), name="events"),
    path("webhook-endpoints", api.WebhookEndpoints.as_view(), name="webhook-endpoints"),
    path(ONE, api.OneWebhookEndpoint.as_view(), name="webhook-endpoint"),
    path(f"{ONE}/deliveries", api.WebhookDeliveries.as_view(), name="webhook-deliveries"),
    path(
        f"{ONE}/deliveries/<int:delivery_id>/resend",
        api.ResendDelivery.as_view(),
        name="webhook-delivery-resend",
    ),
    path(f"{ONE}/rotate-secret", api.RotateWebhookSecret.as_view(), name="webhook-endpoint-rotate"),
    path(f"{ONE}/test", api.TestWebhookEndpoint.as_view(), name="webhook-endpoint-test"),
]
