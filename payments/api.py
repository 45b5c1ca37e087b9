"""The HTTP edge of wallets and payments. Calls that charge a card are in `orders`, whose sagas do it."""

from functools import partial
from uuid import UUID

from django.conf import settings

from foundation.http import json_format, keyed_calls
from foundation.http.json_format import JsonObject
from foundation.http.messages import account_id, caller_id
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import STAFF_ONLY, extend_schema
from foundation.http.pagination import paginate, paginate_for_staff
from foundation.http.permissions import (
    allowed_account_id,
    has_staff_permission,
    listed_account_id,
    require_staff_permission,
)
from foundation.http.validation import OwnerQuery, read, read_query
from foundation.http.views import JSONResponse, Request, Response, View
from foundation.idempotency.recorded_answers import Answer
from foundation.scopes import Resource
from payments import ledger, points_grants, schemas, selectors
from payments.models import Payment

VIEW = "payments.view_payment"


class WalletView(View):
    resource = Resource.WALLET


class Wallet(WalletView):
    @extend_schema(operation_id="getWallet", summary="The caller's points", responses=schemas.WalletBody)
    def get(self, request: Request) -> Response:
        """What orders that are being paid hold is taken off."""
        balance_amount = ledger.balance_amount(account_id(request))
        return Response({"balance_amount": balance_amount, "currency": settings.CURRENCY})


class WalletEntries(WalletView):
    @extend_schema(
        operation_id="listWalletEntries",
        summary="The entries of the caller's wallet, newest first",
        page_of=schemas.EntryBody,
    )
    def get(self, request: Request) -> Response:
        """Each change of its points, with what was there after it."""
        return paginate(request, selectors.entries(user_id=account_id(request)), schemas.entry_body)


class Grants(WalletView):
    @extend_schema(
        operation_id="grantPoints",
        summary="Give an account points (staff)",
        description="An account that doesn't exist or is disabled is 404 `not_found`, the caller's own 403 "
        "`own_account`. More than an operator may grant at once or in a day is 403 `approval_required`, and "
        "nothing is recorded: it is asked for on the account's page in the admin.",
        parameters=[api_doc.IDEMPOTENCY_KEY],
        request=schemas.GrantInput,
        responses={201: schemas.EntryBody},
        refused={403: ["approval_required", "own_account", "permission_denied"], 404: ["not_found"]},
    )
    def post(self, request: Request) -> JSONResponse:
        staff_id = require_staff_permission(request, "payments.add_transfer")
        call = keyed_calls.read_keyed_call(
            request,
            lambda entry: Answer(status=201, body=json_format.dump(schemas.entry_body(entry))),
            owner_id=staff_id,
        )
        data = read(schemas.GrantInput, request)
        outcome = keyed_calls.perform_blocking(
            call,
            lambda: points_grants.grant(
                user_id=data.user, amount=data.amount, reason=data.reason, keyed=call
            ),
        )
        return keyed_calls.respond_recorded(call, outcome)


class ListPayments(View):
    """The GET of `/payments`; the URL belongs to `orders`, which starts payments there."""

    resource = Resource.PAYMENTS

    @extend_schema(
        operation_id="listPayments",
        summary="The caller's payments, newest first",
        description="Staff see all payments.",
        query=[schemas.FindPaymentsQuery, OwnerQuery],
        page_of=schemas.PaymentBody,
        refused=STAFF_ONLY,
    )
    def get(self, request: Request) -> Response:
        owner_id = listed_account_id(request, VIEW)
        data = read_query(schemas.FindPaymentsQuery, request)
        found = selectors.payments(account_id=owner_id, order_id=data.order, status=data.status)
        body = partial(_payment_body, language=request.language, reader_id=caller_id(request))
        for_staff = has_staff_permission(request, VIEW)
        return (paginate_for_staff if for_staff else paginate)(request, found, body)


class OnePayment(View):
    resource = Resource.PAYMENTS

    @extend_schema(
        operation_id="getPayment",
        summary="One payment",
        description="Staff see all payments.",
        responses=schemas.PaymentBody,
    )
    def get(self, request: Request, payment_id: UUID) -> Response:
        found = selectors.payment(payment_id=payment_id, account_id=allowed_account_id(request, VIEW))
        return Response(_payment_body(found, language=request.language, reader_id=caller_id(request)))


def _payment_body(payment: Payment, *, language: str, reader_id: int | None) -> JsonObject:
    return schemas.payment_body(payment, language, reader_id=reader_id, disputes=payment.disputes.all())
