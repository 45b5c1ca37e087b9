"""The app's addresses under /api/v1."""

from django.urls import path

from shop import account_api, lab

urlpatterns = [
    path("users", account_api.Users.as_view()),
    path("users/me", account_api.OwnAccount.as_view()),
    path("auth/token", account_api.SignIn.as_view()),
    path("auth/refresh", account_api.Refresh.as_view()),
    path("auth/logout", account_api.SignOut.as_view()),
    path("lab/null", lab.NullCoupon.as_view()),
]
