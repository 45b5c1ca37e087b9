"""The app's paths under /api/v1."""

from django.urls import path

from accounts import api
from accounts.api_keys import api as api_keys

urlpatterns = [
    path("users", api.Users.as_view()),
    path("users/me", api.OwnAccount.as_view()),
    path("users/<int:user_id>", api.OneUser.as_view()),
    path("users/me/password", api.OwnPassword.as_view()),
    path("auth/token", api.SignIn.as_view()),
    path("auth/refresh", api.Refresh.as_view()),
    path("auth/logout", api.SignOut.as_view()),
    path("api-keys", api_keys.ApiKeys.as_view()),
    path("api-keys/<int:key_id>", api_keys.OneApiKey.as_view()),
    path("api-keys/<int:key_id>/rotate", api_keys.RotateApiKey.as_view()),
]
