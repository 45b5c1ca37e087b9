"""A client of a Firstcome shop: calls that are repeated safely, waits, pages, events and webhooks.

`generated` has all calls and bodies, made by openapi-python-client from the shop's OpenAPI document.
"""

from firstcome_client.asynchronous.shop import AsyncShop
from firstcome_client.calls import checked
from firstcome_client.credentials import ApiKey, Password, Tokens
from firstcome_client.errors import IntentTooOldError, NoAnswerError, NotSettledError, ProblemError
from firstcome_client.keys import new_key
from firstcome_client.repeating import Retries
from firstcome_client.synchronous.shop import Shop
from firstcome_client.webhooks import WebhookError, verify_webhook

__all__ = [
    "ApiKey",
    "AsyncShop",
    "IntentTooOldError",
    "NoAnswerError",
    "NotSettledError",
    "Password",
    "ProblemError",
    "Retries",
    "Shop",
    "Tokens",
    "WebhookError",
    "checked",
    "new_key",
    "verify_webhook",
]
