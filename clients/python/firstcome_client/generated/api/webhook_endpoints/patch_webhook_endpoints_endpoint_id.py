from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.change_webhook_endpoint_input import ChangeWebhookEndpointInput
from ...models.problem import Problem
from ...models.webhook_endpoint_body import WebhookEndpointBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    endpoint_id: UUID,
    *,
    body: ChangeWebhookEndpointInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "patch",
        "url": "/api/v1/webhook-endpoints/{endpoint_id}".format(
            endpoint_id=quote(str(endpoint_id), safe=""),
        ),
    }

    if not isinstance(body, Unset):
        _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | WebhookEndpointBody | None:
    if response.status_code == 200:
        response_200 = WebhookEndpointBody.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Problem.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = Problem.from_dict(response.json())

        return response_403

    if response.status_code == 404:
        response_404 = Problem.from_dict(response.json())

        return response_404

    if response.status_code == 408:
        response_408 = Problem.from_dict(response.json())

        return response_408

    if response.status_code == 409:
        response_409 = Problem.from_dict(response.json())

        return response_409

    if response.status_code == 413:
        response_413 = Problem.from_dict(response.json())

        return response_413

    if response.status_code == 415:
        response_415 = Problem.from_dict(response.json())

        return response_415

    if response.status_code == 429:
        response_429 = Problem.from_dict(response.json())

        return response_429

    if response.status_code == 503:
        response_503 = Problem.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | WebhookEndpointBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    endpoint_id: UUID,
    *,
    client: AuthenticatedClient,
    body: ChangeWebhookEndpointInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | WebhookEndpointBody]:
    """Change a webhook endpoint (staff)

     What is pending is tried at once. An endpoint that is enabled again gets what happened meanwhile, as
    far as events are kept. From then on it is sent events for the account, and the API key, by which it
    was changed.

    Args:
        endpoint_id (UUID):
        firstcome_account (str | Unset):
        body (ChangeWebhookEndpointInput | Unset): Only the given fields change. `enabled: true`
            enables an endpoint again that was disabled.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | WebhookEndpointBody]
    """

    kwargs = _get_kwargs(
        endpoint_id=endpoint_id,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    endpoint_id: UUID,
    *,
    client: AuthenticatedClient,
    body: ChangeWebhookEndpointInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | WebhookEndpointBody | None:
    """Change a webhook endpoint (staff)

     What is pending is tried at once. An endpoint that is enabled again gets what happened meanwhile, as
    far as events are kept. From then on it is sent events for the account, and the API key, by which it
    was changed.

    Args:
        endpoint_id (UUID):
        firstcome_account (str | Unset):
        body (ChangeWebhookEndpointInput | Unset): Only the given fields change. `enabled: true`
            enables an endpoint again that was disabled.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | WebhookEndpointBody
    """

    return sync_detailed(
        endpoint_id=endpoint_id,
        client=client,
        body=body,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    endpoint_id: UUID,
    *,
    client: AuthenticatedClient,
    body: ChangeWebhookEndpointInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | WebhookEndpointBody]:
    """Change a webhook endpoint (staff)

     What is pending is tried at once. An endpoint that is enabled again gets what happened meanwhile, as
    far as events are kept. From then on it is sent events for the account, and the API key, by which it
    was changed.

    Args:
        endpoint_id (UUID):
        firstcome_account (str | Unset):
        body (ChangeWebhookEndpointInput | Unset): Only the given fields change. `enabled: true`
            enables an endpoint again that was disabled.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | WebhookEndpointBody]
    """

    kwargs = _get_kwargs(
        endpoint_id=endpoint_id,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    endpoint_id: UUID,
    *,
    client: AuthenticatedClient,
    body: ChangeWebhookEndpointInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | WebhookEndpointBody | None:
    """Change a webhook endpoint (staff)

     What is pending is tried at once. An endpoint that is enabled again gets what happened meanwhile, as
    far as events are kept. From then on it is sent events for the account, and the API key, by which it
    was changed.

    Args:
        endpoint_id (UUID):
        firstcome_account (str | Unset):
        body (ChangeWebhookEndpointInput | Unset): Only the given fields change. `enabled: true`
            enables an endpoint again that was disabled.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | WebhookEndpointBody
    """

    return (
        await asyncio_detailed(
            endpoint_id=endpoint_id,
            client=client,
            body=body,
            firstcome_account=firstcome_account,
        )
    ).parsed
