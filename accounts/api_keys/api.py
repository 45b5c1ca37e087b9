"""Views of API keys. No key may call them: a key makes no keys."""

from drf_spectacular.utils import OpenApiResponse

from accounts.api_keys import keys, schemas
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import STAFF_ONLY, extend_schema
from foundation.http.pagination import paginate_for_staff
from foundation.http.permissions import require_staff_permission
from foundation.http.validation import Nothing, read
from foundation.http.views import Request, Response, View
from foundation.scopes import Resource


class ApiKeys(View):
    resource = Resource.NONE

    @extend_schema(
        operation_id="listApiKeys",
        summary="API keys that are not revoked, newest first (staff)",
        page_of=schemas.ApiKeyBody,
        refused=STAFF_ONLY,
    )
    def get(self, request: Request) -> Response:
        """Of all accounts, without their secrets."""
        require_staff_permission(request, "accounts.view_apikey")
        return paginate_for_staff(request, keys.unrevoked(), schemas.api_key_body)

    @extend_schema(
        operation_id="createApiKey",
        summary="Make an API key (staff)",
        parameters=[api_doc.LOCATION],
        request=schemas.CreateApiKeyInput,
        responses={201: schemas.ApiKeySecretBody},
        refused=STAFF_ONLY | {409: ["too_many_api_keys"]},
    )
    def post(self, request: Request) -> Response:
        """The secret is shown this once, and sent as `Authorization: Bearer fc_key_…`.

        A key may never do more than the account that made it may at the moment of each call. The scope `act`
        needs the permission `accounts.act_apikey`.
        """
        maker_id = require_staff_permission(request, "accounts.add_apikey")
        given = read(schemas.CreateApiKeyInput, request)
        new = keys.create(
            maker_id=maker_id, name=given.name, wanted_scopes=given.scopes, expires_at=given.expires_at
        )
        address = f"{request.path}/{new.key.pk}"
        return Response(schemas.new_secret_body(new), status=201, headers={"Location": address})


class RotateApiKey(View):
    resource = Resource.NONE

    @extend_schema(
        operation_id="rotateApiKey",
        summary="Give an API key a new secret (staff)",
        request=Nothing,
        responses={200: schemas.ApiKeySecretBody},
        refused=STAFF_ONLY | {409: ["api_key_revoked", "api_key_expired", "too_many_secrets"]},
    )
    def post(self, request: Request, key_id: int) -> Response:
        """The former secret is valid for another 24 hours. Only the account that made a key may rotate it."""
        staff_id = require_staff_permission(request, "accounts.change_apikey")
        read(Nothing, request)
        return Response(schemas.new_secret_body(keys.rotate(key_id=key_id, account_id=staff_id)))


class OneApiKey(View):
    resource = Resource.NONE

    @extend_schema(
        operation_id="revokeApiKey",
        summary="Revoke an API key (staff)",
        responses={204: OpenApiResponse(description="No process takes it after a second.")},
        refused=STAFF_ONLY,
    )
    def delete(self, request: Request, key_id: int) -> Response:
        """Every account's key may be revoked. Repeating the call has no further effect."""
        require_staff_permission(request, "accounts.change_apikey")
        keys.revoke(key_id=key_id)
        return Response(status=204)
