from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.change_sale_input import ChangeSaleInput
from ...models.problem import Problem
from ...models.sale_body import SaleBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    sale_id: int,
    *,
    body: ChangeSaleInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "patch",
        "url": "/api/v1/sales/{sale_id}".format(
            sale_id=quote(str(sale_id), safe=""),
        ),
    }

    if not isinstance(body, Unset):
        _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | SaleBody | None:
    if response.status_code == 200:
        response_200 = SaleBody.from_dict(response.json())

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
) -> Response[Problem | SaleBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    sale_id: int,
    *,
    client: AuthenticatedClient,
    body: ChangeSaleInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | SaleBody]:
    """Change a sale (staff)

     Every process obeys once this is answered. When it has opened, `opens_at` and `admission` can't
    change; when it is over, only `name` and `products`: a product that it gives up can be ordered
    without it.

    Args:
        sale_id (int):
        firstcome_account (str | Unset):
        body (ChangeSaleInput | Unset): Only the given fields change; `products` replaces all of
            them.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SaleBody]
    """

    kwargs = _get_kwargs(
        sale_id=sale_id,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sale_id: int,
    *,
    client: AuthenticatedClient,
    body: ChangeSaleInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | SaleBody | None:
    """Change a sale (staff)

     Every process obeys once this is answered. When it has opened, `opens_at` and `admission` can't
    change; when it is over, only `name` and `products`: a product that it gives up can be ordered
    without it.

    Args:
        sale_id (int):
        firstcome_account (str | Unset):
        body (ChangeSaleInput | Unset): Only the given fields change; `products` replaces all of
            them.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SaleBody
    """

    return sync_detailed(
        sale_id=sale_id,
        client=client,
        body=body,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    sale_id: int,
    *,
    client: AuthenticatedClient,
    body: ChangeSaleInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | SaleBody]:
    """Change a sale (staff)

     Every process obeys once this is answered. When it has opened, `opens_at` and `admission` can't
    change; when it is over, only `name` and `products`: a product that it gives up can be ordered
    without it.

    Args:
        sale_id (int):
        firstcome_account (str | Unset):
        body (ChangeSaleInput | Unset): Only the given fields change; `products` replaces all of
            them.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SaleBody]
    """

    kwargs = _get_kwargs(
        sale_id=sale_id,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sale_id: int,
    *,
    client: AuthenticatedClient,
    body: ChangeSaleInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | SaleBody | None:
    """Change a sale (staff)

     Every process obeys once this is answered. When it has opened, `opens_at` and `admission` can't
    change; when it is over, only `name` and `products`: a product that it gives up can be ordered
    without it.

    Args:
        sale_id (int):
        firstcome_account (str | Unset):
        body (ChangeSaleInput | Unset): Only the given fields change; `products` replaces all of
            them.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SaleBody
    """

    return (
        await asyncio_detailed(
            sale_id=sale_id,
            client=client,
            body=body,
            firstcome_account=firstcome_account,
        )
    ).parsed
