from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.post_webhooks_gateway_body import PostWebhooksGatewayBody
from ...models.problem import Problem
from ...models.received_body import ReceivedBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    gateway: str,
    *,
    body: PostWebhooksGatewayBody | Unset = UNSET,
    firstcome_signature: str | Unset = UNSET,
    stripe_signature: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_signature, Unset):
        headers["Firstcome-Signature"] = firstcome_signature

    if not isinstance(stripe_signature, Unset):
        headers["Stripe-Signature"] = stripe_signature

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/webhooks/{gateway}".format(
            gateway=quote(str(gateway), safe=""),
        ),
    }

    if not isinstance(body, Unset):
        _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | ReceivedBody | None:
    if response.status_code == 200:
        response_200 = ReceivedBody.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 404:
        response_404 = Problem.from_dict(response.json())

        return response_404

    if response.status_code == 408:
        response_408 = Problem.from_dict(response.json())

        return response_408

    if response.status_code == 413:
        response_413 = Problem.from_dict(response.json())

        return response_413

    if response.status_code == 503:
        response_503 = Problem.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | ReceivedBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    gateway: str,
    *,
    client: AuthenticatedClient | Client,
    body: PostWebhooksGatewayBody | Unset = UNSET,
    firstcome_signature: str | Unset = UNSET,
    stripe_signature: str | Unset = UNSET,
) -> Response[Problem | ReceivedBody]:
    """Receive an event about a charge (gateways)

     The signature covers the exact bytes of the body.

    Every signed body is 200: also an event that was received before, one of an unknown type, and a body
    that is no event. The creation time in an event is ignored.

    Args:
        gateway (str):
        firstcome_signature (str | Unset):
        stripe_signature (str | Unset):
        body (PostWebhooksGatewayBody | Unset): An event in the gateway's format.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | ReceivedBody]
    """

    kwargs = _get_kwargs(
        gateway=gateway,
        body=body,
        firstcome_signature=firstcome_signature,
        stripe_signature=stripe_signature,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    gateway: str,
    *,
    client: AuthenticatedClient | Client,
    body: PostWebhooksGatewayBody | Unset = UNSET,
    firstcome_signature: str | Unset = UNSET,
    stripe_signature: str | Unset = UNSET,
) -> Problem | ReceivedBody | None:
    """Receive an event about a charge (gateways)

     The signature covers the exact bytes of the body.

    Every signed body is 200: also an event that was received before, one of an unknown type, and a body
    that is no event. The creation time in an event is ignored.

    Args:
        gateway (str):
        firstcome_signature (str | Unset):
        stripe_signature (str | Unset):
        body (PostWebhooksGatewayBody | Unset): An event in the gateway's format.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | ReceivedBody
    """

    return sync_detailed(
        gateway=gateway,
        client=client,
        body=body,
        firstcome_signature=firstcome_signature,
        stripe_signature=stripe_signature,
    ).parsed


async def asyncio_detailed(
    gateway: str,
    *,
    client: AuthenticatedClient | Client,
    body: PostWebhooksGatewayBody | Unset = UNSET,
    firstcome_signature: str | Unset = UNSET,
    stripe_signature: str | Unset = UNSET,
) -> Response[Problem | ReceivedBody]:
    """Receive an event about a charge (gateways)

     The signature covers the exact bytes of the body.

    Every signed body is 200: also an event that was received before, one of an unknown type, and a body
    that is no event. The creation time in an event is ignored.

    Args:
        gateway (str):
        firstcome_signature (str | Unset):
        stripe_signature (str | Unset):
        body (PostWebhooksGatewayBody | Unset): An event in the gateway's format.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | ReceivedBody]
    """

    kwargs = _get_kwargs(
        gateway=gateway,
        body=body,
        firstcome_signature=firstcome_signature,
        stripe_signature=stripe_signature,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    gateway: str,
    *,
    client: AuthenticatedClient | Client,
    body: PostWebhooksGatewayBody | Unset = UNSET,
    firstcome_signature: str | Unset = UNSET,
    stripe_signature: str | Unset = UNSET,
) -> Problem | ReceivedBody | None:
    """Receive an event about a charge (gateways)

     The signature covers the exact bytes of the body.

    Every signed body is 200: also an event that was received before, one of an unknown type, and a body
    that is no event. The creation time in an event is ignored.

    Args:
        gateway (str):
        firstcome_signature (str | Unset):
        stripe_signature (str | Unset):
        body (PostWebhooksGatewayBody | Unset): An event in the gateway's format.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | ReceivedBody
    """

    return (
        await asyncio_detailed(
            gateway=gateway,
            client=client,
            body=body,
            firstcome_signature=firstcome_signature,
            stripe_signature=stripe_signature,
        )
    ).parsed
