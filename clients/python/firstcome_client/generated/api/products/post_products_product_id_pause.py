from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.pause_input import PauseInput
from ...models.problem import Problem
from ...models.product_body import ProductBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    product_id: int,
    *,
    body: PauseInput,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/products/{product_id}/pause".format(
            product_id=quote(str(product_id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | ProductBody | None:
    if response.status_code == 200:
        response_200 = ProductBody.from_dict(response.json())

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
) -> Response[Problem | ProductBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    product_id: int,
    *,
    client: AuthenticatedClient,
    body: PauseInput,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | ProductBody]:
    """Pause a product (staff)

     From this answer on no process places an order of it, until it is resumed: `POST /orders` is 409
    `product_paused`. Orders that are placed already go on. A paused product stays as it is.

    Args:
        product_id (int):
        firstcome_account (str | Unset):
        body (PauseInput): Why it is paused or resumed; the journal records it.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | ProductBody]
    """

    kwargs = _get_kwargs(
        product_id=product_id,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    product_id: int,
    *,
    client: AuthenticatedClient,
    body: PauseInput,
    firstcome_account: str | Unset = UNSET,
) -> Problem | ProductBody | None:
    """Pause a product (staff)

     From this answer on no process places an order of it, until it is resumed: `POST /orders` is 409
    `product_paused`. Orders that are placed already go on. A paused product stays as it is.

    Args:
        product_id (int):
        firstcome_account (str | Unset):
        body (PauseInput): Why it is paused or resumed; the journal records it.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | ProductBody
    """

    return sync_detailed(
        product_id=product_id,
        client=client,
        body=body,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    product_id: int,
    *,
    client: AuthenticatedClient,
    body: PauseInput,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | ProductBody]:
    """Pause a product (staff)

     From this answer on no process places an order of it, until it is resumed: `POST /orders` is 409
    `product_paused`. Orders that are placed already go on. A paused product stays as it is.

    Args:
        product_id (int):
        firstcome_account (str | Unset):
        body (PauseInput): Why it is paused or resumed; the journal records it.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | ProductBody]
    """

    kwargs = _get_kwargs(
        product_id=product_id,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    product_id: int,
    *,
    client: AuthenticatedClient,
    body: PauseInput,
    firstcome_account: str | Unset = UNSET,
) -> Problem | ProductBody | None:
    """Pause a product (staff)

     From this answer on no process places an order of it, until it is resumed: `POST /orders` is 409
    `product_paused`. Orders that are placed already go on. A paused product stays as it is.

    Args:
        product_id (int):
        firstcome_account (str | Unset):
        body (PauseInput): Why it is paused or resumed; the journal records it.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | ProductBody
    """

    return (
        await asyncio_detailed(
            product_id=product_id,
            client=client,
            body=body,
            firstcome_account=firstcome_account,
        )
    ).parsed
