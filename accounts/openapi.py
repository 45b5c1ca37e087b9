"""How the OpenAPI document shows what a caller signs in with."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from foundation.http.openapi.api_doc import Schema

API_KEY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "fc_key_…",
    "description": "An API key, for programs. An operation's `x-scope` has the scopes that the key needs, "
    "between spaces; an operation without one takes no key. The key has the rights of the account that "
    "made it, or with the header `Firstcome-Account` and the scope `act` those of that account's owner.",
}


class Bearer(OpenApiAuthenticationExtension):
    """An access token in the `Authorization` header."""

    target_class = "accounts.tokens.authentication.BearerToken"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> Schema:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token, of `POST /auth/token` or of the shop's identity provider.",
        }


class APIKey(OpenApiAuthenticationExtension):
    """A secret in the same header; `Operations` says which calls take one."""

    target_class = "accounts.api_keys.calls.APIKey"
    name = "api_key"

    def get_security_definition(self, auto_schema: AutoSchema) -> Schema:
        return API_KEY_SCHEME

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[Any]]]:
        return []
