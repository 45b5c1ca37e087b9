from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.coupon_body import CouponBody
from ...models.problem import Problem
from ...models.void_coupon_input import VoidCouponInput
from ...types import UNSET, Response, Unset


def _get_kwargs(
    code: str,
    *,
    body: VoidCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/coupons/{code}/void".format(
            code=quote(str(code), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> CouponBody | Problem | None:
    if response.status_code == 200:
        response_200 = CouponBody.from_dict(response.json())

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
) -> Response[CouponBody | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    code: str,
    *,
    client: AuthenticatedClient,
    body: VoidCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> Response[CouponBody | Problem]:
    """Make a coupon void (staff)

     Its slot is not issued again, and its owner can't get another coupon of the campaign.

    Args:
        code (str):
        firstcome_account (str | Unset):
        body (VoidCouponInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CouponBody | Problem]
    """

    kwargs = _get_kwargs(
        code=code,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    code: str,
    *,
    client: AuthenticatedClient,
    body: VoidCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> CouponBody | Problem | None:
    """Make a coupon void (staff)

     Its slot is not issued again, and its owner can't get another coupon of the campaign.

    Args:
        code (str):
        firstcome_account (str | Unset):
        body (VoidCouponInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CouponBody | Problem
    """

    return sync_detailed(
        code=code,
        client=client,
        body=body,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    code: str,
    *,
    client: AuthenticatedClient,
    body: VoidCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> Response[CouponBody | Problem]:
    """Make a coupon void (staff)

     Its slot is not issued again, and its owner can't get another coupon of the campaign.

    Args:
        code (str):
        firstcome_account (str | Unset):
        body (VoidCouponInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CouponBody | Problem]
    """

    kwargs = _get_kwargs(
        code=code,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    code: str,
    *,
    client: AuthenticatedClient,
    body: VoidCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> CouponBody | Problem | None:
    """Make a coupon void (staff)

     Its slot is not issued again, and its owner can't get another coupon of the campaign.

    Args:
        code (str):
        firstcome_account (str | Unset):
        body (VoidCouponInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CouponBody | Problem
    """

    return (
        await asyncio_detailed(
            code=code,
            client=client,
            body=body,
            firstcome_account=firstcome_account,
        )
    ).parsed
