from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.payment_body import PaymentBody
from ...models.problem import Problem
from ...models.top_up_input import TopUpInput
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    body: TopUpInput,
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
        "url": "/api/v1/wallet/top-ups",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> PaymentBody | Problem | None:
    if response.status_code == 201:
        response_201 = PaymentBody.from_dict(response.json())

        return response_201

    if response.status_code == 202:
        response_202 = PaymentBody.from_dict(response.json())

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
) -> Response[PaymentBody | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    body: TopUpInput,
    idempotency_key: str,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[PaymentBody | Problem]:
    """Buy points by card; 202 while the gateway's answer is not known.

    201 and 202 both return the payment, and its URL as `Location`: `card_amount` is what is charged,
    and
    `order` is null. Without `Prefer` the response follows the first attempt at the gateway.

    Args:
        idempotency_key (str):
        prefer (str | Unset):
        firstcome_account (str | Unset):
        body (TopUpInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[PaymentBody | Problem]
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
    body: TopUpInput,
    idempotency_key: str,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> PaymentBody | Problem | None:
    """Buy points by card; 202 while the gateway's answer is not known.

    201 and 202 both return the payment, and its URL as `Location`: `card_amount` is what is charged,
    and
    `order` is null. Without `Prefer` the response follows the first attempt at the gateway.

    Args:
        idempotency_key (str):
        prefer (str | Unset):
        firstcome_account (str | Unset):
        body (TopUpInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        PaymentBody | Problem
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
    body: TopUpInput,
    idempotency_key: str,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[PaymentBody | Problem]:
    """Buy points by card; 202 while the gateway's answer is not known.

    201 and 202 both return the payment, and its URL as `Location`: `card_amount` is what is charged,
    and
    `order` is null. Without `Prefer` the response follows the first attempt at the gateway.

    Args:
        idempotency_key (str):
        prefer (str | Unset):
        firstcome_account (str | Unset):
        body (TopUpInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[PaymentBody | Problem]
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
    body: TopUpInput,
    idempotency_key: str,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> PaymentBody | Problem | None:
    """Buy points by card; 202 while the gateway's answer is not known.

    201 and 202 both return the payment, and its URL as `Location`: `card_amount` is what is charged,
    and
    `order` is null. Without `Prefer` the response follows the first attempt at the gateway.

    Args:
        idempotency_key (str):
        prefer (str | Unset):
        firstcome_account (str | Unset):
        body (TopUpInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        PaymentBody | Problem
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
