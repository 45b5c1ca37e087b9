from http import HTTPStatus
from typing import Any, cast

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.get_products_availability import GetProductsAvailability
from ...models.problem import Problem
from ...models.product_body_page import ProductBodyPage
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    availability: GetProductsAvailability | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    search: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(if_none_match, Unset):
        headers["If-None-Match"] = if_none_match

    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    params: dict[str, Any] = {}

    json_availability: str | Unset = UNSET
    if not isinstance(availability, Unset):
        json_availability = availability.value

    params["availability"] = json_availability

    params["cursor"] = cursor

    params["limit"] = limit

    params["search"] = search

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/products",
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Any | Problem | ProductBodyPage | None:
    if response.status_code == 200:
        response_200 = ProductBodyPage.from_dict(response.json())

        return response_200

    if response.status_code == 304:
        response_304 = cast(Any, None)
        return response_304

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Problem.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = Problem.from_dict(response.json())

        return response_403

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
) -> Response[Any | Problem | ProductBodyPage]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    availability: GetProductsAvailability | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    search: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Any | Problem | ProductBodyPage]:
    """Find products

     Staff see inactive ones too. What customers and anonymous clients are shown is at most a second old
    when their request arrives, and has an `ETag`: with it in `If-None-Match` a list that has not
    changed is 304, without a body.

    Args:
        availability (GetProductsAvailability | Unset):
        cursor (str | Unset):
        limit (int | Unset):
        search (str | Unset):
        if_none_match (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem | ProductBodyPage]
    """

    kwargs = _get_kwargs(
        availability=availability,
        cursor=cursor,
        limit=limit,
        search=search,
        if_none_match=if_none_match,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    availability: GetProductsAvailability | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    search: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Any | Problem | ProductBodyPage | None:
    """Find products

     Staff see inactive ones too. What customers and anonymous clients are shown is at most a second old
    when their request arrives, and has an `ETag`: with it in `If-None-Match` a list that has not
    changed is 304, without a body.

    Args:
        availability (GetProductsAvailability | Unset):
        cursor (str | Unset):
        limit (int | Unset):
        search (str | Unset):
        if_none_match (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem | ProductBodyPage
    """

    return sync_detailed(
        client=client,
        availability=availability,
        cursor=cursor,
        limit=limit,
        search=search,
        if_none_match=if_none_match,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    availability: GetProductsAvailability | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    search: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Any | Problem | ProductBodyPage]:
    """Find products

     Staff see inactive ones too. What customers and anonymous clients are shown is at most a second old
    when their request arrives, and has an `ETag`: with it in `If-None-Match` a list that has not
    changed is 304, without a body.

    Args:
        availability (GetProductsAvailability | Unset):
        cursor (str | Unset):
        limit (int | Unset):
        search (str | Unset):
        if_none_match (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem | ProductBodyPage]
    """

    kwargs = _get_kwargs(
        availability=availability,
        cursor=cursor,
        limit=limit,
        search=search,
        if_none_match=if_none_match,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    availability: GetProductsAvailability | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    search: str | Unset = UNSET,
    if_none_match: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Any | Problem | ProductBodyPage | None:
    """Find products

     Staff see inactive ones too. What customers and anonymous clients are shown is at most a second old
    when their request arrives, and has an `ETag`: with it in `If-None-Match` a list that has not
    changed is 304, without a body.

    Args:
        availability (GetProductsAvailability | Unset):
        cursor (str | Unset):
        limit (int | Unset):
        search (str | Unset):
        if_none_match (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem | ProductBodyPage
    """

    return (
        await asyncio_detailed(
            client=client,
            availability=availability,
            cursor=cursor,
            limit=limit,
            search=search,
            if_none_match=if_none_match,
            firstcome_account=firstcome_account,
        )
    ).parsed
