"""The app's paths under /api/v1."""

from django.urls import path

from accounts import api

urlpatterns = [
    path("users", api.Users.as_view()),
    path("users/me", api.OwnAccount.as_view()),
    path("auth/token", api.SignIn.as_view()),
    path("auth/refresh", api.Refresh.as_view()),
    path("auth/logout", api.SignOut.as_view()),
]
