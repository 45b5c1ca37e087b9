"""A client of a Firstcome shop: calls that are repeated safely, waits, pages, and events.

`generated` has all calls and bodies, made by openapi-python-client from the shop's OpenAPI document.
"""

from firstcome_client.credentials import ApiKey, Password
from firstcome_client.errors import NoAnswerError, NotSettledError, ProblemError
from firstcome_client.http_client import Retries
from firstcome_client.shop import Shop, checked, new_key

__all__ = [
    "ApiKey",
    "NoAnswerError",
    "NotSettledError",
    "Password",
    "ProblemError",
    "Retries",
    "Shop",
    "checked",
    "new_key",
]
