from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.order_body import OrderBody
from ...models.place_order_input import PlaceOrderInput
from ...models.problem import Problem
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    body: PlaceOrderInput,
    idempotency_key: str,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    headers["Idempotency-Key"] = idempotency_key

    if not isinstance(prefer, Unset):
        headers["Prefer"] = prefer

    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/orders",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> OrderBody | Problem | None:
    if response.status_code == 201:
        response_201 = OrderBody.from_dict(response.json())

        return response_201

    if response.status_code == 202:
        response_202 = OrderBody.from_dict(response.json())

        return response_202

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Problem.from_dict(response.json())

        return response_401

    if response.status_code == 402:
        response_402 = Problem.from_dict(response.json())

        return response_402

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

    if response.status_code == 422:
        response_422 = Problem.from_dict(response.json())

        return response_422

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
) -> Response[OrderBody | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    body: PlaceOrderInput,
    idempotency_key: str,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[OrderBody | Problem]:
    """Place an order; with `payment` it is paid at once.

    A card whose owner must act makes the order's `payment` `requires_action`: the response is 202 at
    once, and `payment.next_action.url` is the page to send them to.

    `payment: {}` is for orders that points cover. If they don't cover the order, the response is 400
    `invalid` at `payment.token`; if the wallet holds too few, 409 `insufficient_points`. A card token
    that the gateway doesn't know is a declined payment: 402 with the `failure.code` `unknown_token`.

    Args:
        idempotency_key (str):
        prefer (str | Unset):
        firstcome_account (str | Unset):
        body (PlaceOrderInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[OrderBody | Problem]
    """

    kwargs = _get_kwargs(
        body=body,
        idempotency_key=idempotency_key,
        prefer=prefer,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    body: PlaceOrderInput,
    idempotency_key: str,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> OrderBody | Problem | None:
    """Place an order; with `payment` it is paid at once.

    A card whose owner must act makes the order's `payment` `requires_action`: the response is 202 at
    once, and `payment.next_action.url` is the page to send them to.

    `payment: {}` is for orders that points cover. If they don't cover the order, the response is 400
    `invalid` at `payment.token`; if the wallet holds too few, 409 `insufficient_points`. A card token
    that the gateway doesn't know is a declined payment: 402 with the `failure.code` `unknown_token`.

    Args:
        idempotency_key (str):
        prefer (str | Unset):
        firstcome_account (str | Unset):
        body (PlaceOrderInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        OrderBody | Problem
    """

    return sync_detailed(
        client=client,
        body=body,
        idempotency_key=idempotency_key,
        prefer=prefer,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    body: PlaceOrderInput,
    idempotency_key: str,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[OrderBody | Problem]:
    """Place an order; with `payment` it is paid at once.

    A card whose owner must act makes the order's `payment` `requires_action`: the response is 202 at
    once, and `payment.next_action.url` is the page to send them to.

    `payment: {}` is for orders that points cover. If they don't cover the order, the response is 400
    `invalid` at `payment.token`; if the wallet holds too few, 409 `insufficient_points`. A card token
    that the gateway doesn't know is a declined payment: 402 with the `failure.code` `unknown_token`.

    Args:
        idempotency_key (str):
        prefer (str | Unset):
        firstcome_account (str | Unset):
        body (PlaceOrderInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[OrderBody | Problem]
    """

    kwargs = _get_kwargs(
        body=body,
        idempotency_key=idempotency_key,
        prefer=prefer,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    body: PlaceOrderInput,
    idempotency_key: str,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> OrderBody | Problem | None:
    """Place an order; with `payment` it is paid at once.

    A card whose owner must act makes the order's `payment` `requires_action`: the response is 202 at
    once, and `payment.next_action.url` is the page to send them to.

    `payment: {}` is for orders that points cover. If they don't cover the order, the response is 400
    `invalid` at `payment.token`; if the wallet holds too few, 409 `insufficient_points`. A card token
    that the gateway doesn't know is a declined payment: 402 with the `failure.code` `unknown_token`.

    Args:
        idempotency_key (str):
        prefer (str | Unset):
        firstcome_account (str | Unset):
        body (PlaceOrderInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        OrderBody | Problem
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
            idempotency_key=idempotency_key,
            prefer=prefer,
            firstcome_account=firstcome_account,
        )
    ).parsed
