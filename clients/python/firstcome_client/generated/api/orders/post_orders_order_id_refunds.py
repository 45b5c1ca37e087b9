from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem import Problem
from ...models.refund_body import RefundBody
from ...models.refund_input import RefundInput
from ...types import UNSET, Response, Unset


def _get_kwargs(
    order_id: UUID,
    *,
    body: RefundInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    headers["Idempotency-Key"] = idempotency_key

    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/orders/{order_id}/refunds".format(
            order_id=quote(str(order_id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | RefundBody | None:
    if response.status_code == 202:
        response_202 = RefundBody.from_dict(response.json())

        return response_202

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
) -> Response[Problem | RefundBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    order_id: UUID,
    *,
    client: AuthenticatedClient,
    body: RefundInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | RefundBody]:
    """Refund a part of a paid order, or all that is left of it (staff).

    Units are refunded at their price less their share of the line's discount: n of q units together
    have
    n/q of the discount, rounded down, so the refunds of a line add up to the same amount however they
    are
    split. Points are refunded in the proportion in which they paid the order, rounded down; the last
    refund returns all that is left of both. While the order is `refunding`, another refund may take
    what
    the pending ones leave. An order that is not paid is 409 `nothing_to_refund`; a product with fewer
    units left, or one that is not in the order, is 409 `refund_exceeds_order`.

    Args:
        order_id (UUID):
        idempotency_key (str):
        firstcome_account (str | Unset):
        body (RefundInput): Without `items` all that is left of the order is refunded; `restock`
            puts the goods back in stock.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | RefundBody]
    """

    kwargs = _get_kwargs(
        order_id=order_id,
        body=body,
        idempotency_key=idempotency_key,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    order_id: UUID,
    *,
    client: AuthenticatedClient,
    body: RefundInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> Problem | RefundBody | None:
    """Refund a part of a paid order, or all that is left of it (staff).

    Units are refunded at their price less their share of the line's discount: n of q units together
    have
    n/q of the discount, rounded down, so the refunds of a line add up to the same amount however they
    are
    split. Points are refunded in the proportion in which they paid the order, rounded down; the last
    refund returns all that is left of both. While the order is `refunding`, another refund may take
    what
    the pending ones leave. An order that is not paid is 409 `nothing_to_refund`; a product with fewer
    units left, or one that is not in the order, is 409 `refund_exceeds_order`.

    Args:
        order_id (UUID):
        idempotency_key (str):
        firstcome_account (str | Unset):
        body (RefundInput): Without `items` all that is left of the order is refunded; `restock`
            puts the goods back in stock.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | RefundBody
    """

    return sync_detailed(
        order_id=order_id,
        client=client,
        body=body,
        idempotency_key=idempotency_key,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    order_id: UUID,
    *,
    client: AuthenticatedClient,
    body: RefundInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | RefundBody]:
    """Refund a part of a paid order, or all that is left of it (staff).

    Units are refunded at their price less their share of the line's discount: n of q units together
    have
    n/q of the discount, rounded down, so the refunds of a line add up to the same amount however they
    are
    split. Points are refunded in the proportion in which they paid the order, rounded down; the last
    refund returns all that is left of both. While the order is `refunding`, another refund may take
    what
    the pending ones leave. An order that is not paid is 409 `nothing_to_refund`; a product with fewer
    units left, or one that is not in the order, is 409 `refund_exceeds_order`.

    Args:
        order_id (UUID):
        idempotency_key (str):
        firstcome_account (str | Unset):
        body (RefundInput): Without `items` all that is left of the order is refunded; `restock`
            puts the goods back in stock.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | RefundBody]
    """

    kwargs = _get_kwargs(
        order_id=order_id,
        body=body,
        idempotency_key=idempotency_key,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    order_id: UUID,
    *,
    client: AuthenticatedClient,
    body: RefundInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> Problem | RefundBody | None:
    """Refund a part of a paid order, or all that is left of it (staff).

    Units are refunded at their price less their share of the line's discount: n of q units together
    have
    n/q of the discount, rounded down, so the refunds of a line add up to the same amount however they
    are
    split. Points are refunded in the proportion in which they paid the order, rounded down; the last
    refund returns all that is left of both. While the order is `refunding`, another refund may take
    what
    the pending ones leave. An order that is not paid is 409 `nothing_to_refund`; a product with fewer
    units left, or one that is not in the order, is 409 `refund_exceeds_order`.

    Args:
        order_id (UUID):
        idempotency_key (str):
        firstcome_account (str | Unset):
        body (RefundInput): Without `items` all that is left of the order is refunded; `restock`
            puts the goods back in stock.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | RefundBody
    """

    return (
        await asyncio_detailed(
            order_id=order_id,
            client=client,
            body=body,
            idempotency_key=idempotency_key,
            firstcome_account=firstcome_account,
        )
    ).parsed
