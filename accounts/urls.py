"""The app's paths under /api/v1."""

from accounts import api
from accounts.api_keys import api as api_keys
from foundation.http.views import routes

urlpatterns = routes(
    {
        "users": api.Users,
        "users/me": api.OwnAccount,
        "users/<int:user_id>": api.OneUser,
        "users/me/password": api.OwnPassword,
        "auth/token": api.SignIn,
        "auth/refresh": api.Refresh,
        "auth/logout": api.SignOut,
        "api-keys": api_keys.ApiKeys,
        "api-keys/<int:key_id>": api_keys.OneApiKey,
        "api-keys/<int:key_id>/rotate": api_keys.RotateApiKey,
    }
)
