"""The addresses of API keys under /api/v1."""

from django.urls import path

from accounts.api_keys import api

urlpatterns = [
    path("api-keys", api.ApiKeys.as_view()),
    path("api-keys/<int:key_id>", api.OneApiKey.as_view()),
    path("api-keys/<int:key_id>/rotate", api.RotateApiKey.as_view()),
]
