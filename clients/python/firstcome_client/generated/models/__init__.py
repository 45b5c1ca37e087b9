"""Contains all the data models used in inputs/outputs"""

from .account_body import AccountBody
from .add_codes_input import AddCodesInput
from .added_codes_body import AddedCodesBody
from .adjust_stock_input import AdjustStockInput
from .api_key_body import ApiKeyBody
from .api_key_body_page import ApiKeyBodyPage
from .api_key_body_scopes_item import ApiKeyBodyScopesItem
from .api_key_secret_body import ApiKeySecretBody
from .api_key_secret_body_scopes_item import ApiKeySecretBodyScopesItem
from .archived_month_body import ArchivedMonthBody
from .availability import Availability
from .campaign_body import CampaignBody
from .campaign_body_code_source import CampaignBodyCodeSource
from .campaign_body_eligible import CampaignBodyEligible
from .campaign_body_page import CampaignBodyPage
from .campaign_body_status import CampaignBodyStatus
from .campaign_body_strategy import CampaignBodyStrategy
from .card_input import CardInput
from .change_campaign_input import ChangeCampaignInput
from .change_campaign_input_code_source_type_0 import ChangeCampaignInputCodeSourceType0
from .change_campaign_input_eligible_type_0 import ChangeCampaignInputEligibleType0
from .change_campaign_input_strategy_type_0 import ChangeCampaignInputStrategyType0
from .change_discount_input import ChangeDiscountInput
from .change_discount_input_type_type_0 import ChangeDiscountInputTypeType0
from .change_product_input import ChangeProductInput
from .change_sale_input import ChangeSaleInput
from .change_sale_input_admission_type_0 import ChangeSaleInputAdmissionType0
from .change_webhook_endpoint_input import ChangeWebhookEndpointInput
from .coupon_body import CouponBody
from .coupon_body_page import CouponBodyPage
from .coupon_body_status import CouponBodyStatus
from .create_api_key_input import CreateApiKeyInput
from .create_api_key_input_scopes_item import CreateApiKeyInputScopesItem
from .create_campaign_input import CreateCampaignInput
from .create_campaign_input_code_source_type_0 import CreateCampaignInputCodeSourceType0
from .create_campaign_input_eligible_type_0 import CreateCampaignInputEligibleType0
from .create_campaign_input_strategy_type_0 import CreateCampaignInputStrategyType0
from .create_product_input import CreateProductInput
from .create_sale_input import CreateSaleInput
from .create_sale_input_admission_type_0 import CreateSaleInputAdmissionType0
from .create_webhook_endpoint_input import CreateWebhookEndpointInput
from .discount_body import DiscountBody
from .discount_body_type import DiscountBodyType
from .discount_input import DiscountInput
from .discount_input_type import DiscountInputType
from .dispute_body import DisputeBody
from .dispute_body_status import DisputeBodyStatus
from .draw_body import DrawBody
from .eligible_accounts_body import EligibleAccountsBody
from .eligible_accounts_input import EligibleAccountsInput
from .entry_body import EntryBody
from .entry_body_kind import EntryBodyKind
from .entry_body_page import EntryBodyPage
from .event_body import EventBody
from .failure_body import FailureBody
from .feed_event_body import FeedEventBody
from .feed_event_body_data import FeedEventBodyData
from .feed_page_body import FeedPageBody
from .field_error import FieldError
from .get_campaigns_campaign_id_codes_status import GetCampaignsCampaignIdCodesStatus
from .get_coupons_status import GetCouponsStatus
from .get_orders_status import GetOrdersStatus
from .get_products_availability import GetProductsAvailability
from .get_webhook_endpoints_endpoint_id_deliveries_status import GetWebhookEndpointsEndpointIdDeliveriesStatus
from .grant_input import GrantInput
from .issue_coupon_input import IssueCouponInput
from .item_body import ItemBody
from .item_input import ItemInput
from .new_webhook_endpoint_body import NewWebhookEndpointBody
from .new_webhook_endpoint_body_disabled_by_type_0 import NewWebhookEndpointBodyDisabledByType0
from .new_webhook_endpoint_body_kind import NewWebhookEndpointBodyKind
from .next_action_body import NextActionBody
from .nothing import Nothing
from .order_body import OrderBody
from .order_body_page import OrderBodyPage
from .order_body_status import OrderBodyStatus
from .order_payment_body import OrderPaymentBody
from .order_payment_body_status import OrderPaymentBodyStatus
from .own_account_body import OwnAccountBody
from .pause_input import PauseInput
from .pay_input import PayInput
from .payment_body import PaymentBody
from .payment_body_page import PaymentBodyPage
from .payment_body_status import PaymentBodyStatus
from .place_order_input import PlaceOrderInput
from .pool_code_body import PoolCodeBody
from .pool_code_body_page import PoolCodeBodyPage
from .pool_code_body_status import PoolCodeBodyStatus
from .post_webhooks_gateway_body import PostWebhooksGatewayBody
from .problem import Problem
from .product_body import ProductBody
from .product_body_page import ProductBodyPage
from .received_body import ReceivedBody
from .refresh_input import RefreshInput
from .refund_body import RefundBody
from .refund_body_page import RefundBodyPage
from .refund_body_source import RefundBodySource
from .refund_body_status import RefundBodyStatus
from .refund_input import RefundInput
from .refund_item_body import RefundItemBody
from .refund_item_input import RefundItemInput
from .register_input import RegisterInput
from .rename_code_input import RenameCodeInput
from .resend_input import ResendInput
from .sale_body import SaleBody
from .sale_body_admission import SaleBodyAdmission
from .sale_body_page import SaleBodyPage
from .sale_body_status import SaleBodyStatus
from .sale_entry_body import SaleEntryBody
from .sale_entry_body_status import SaleEntryBodyStatus
from .sign_in_input import SignInInput
from .stock_body import StockBody
from .stock_movement_body import StockMovementBody
from .stock_movement_body_kind import StockMovementBodyKind
from .stock_movement_body_page import StockMovementBodyPage
from .ticket_body import TicketBody
from .ticket_body_status import TicketBodyStatus
from .timeline_body import TimelineBody
from .tokens_body import TokensBody
from .top_up_input import TopUpInput
from .void_coupon_input import VoidCouponInput
from .wallet_body import WalletBody
from .webhook_delivery_body import WebhookDeliveryBody
from .webhook_delivery_body_page import WebhookDeliveryBodyPage
from .webhook_delivery_body_status import WebhookDeliveryBodyStatus
from .webhook_endpoint_body import WebhookEndpointBody
from .webhook_endpoint_body_disabled_by_type_0 import WebhookEndpointBodyDisabledByType0
from .webhook_endpoint_body_kind import WebhookEndpointBodyKind
from .webhook_endpoint_body_page import WebhookEndpointBodyPage

__all__ = (
    "AccountBody",
    "AddCodesInput",
    "AddedCodesBody",
    "AdjustStockInput",
    "ApiKeyBody",
    "ApiKeyBodyPage",
    "ApiKeyBodyScopesItem",
    "ApiKeySecretBody",
    "ApiKeySecretBodyScopesItem",
    "ArchivedMonthBody",
    "Availability",
    "CampaignBody",
    "CampaignBodyCodeSource",
    "CampaignBodyEligible",
    "CampaignBodyPage",
    "CampaignBodyStatus",
    "CampaignBodyStrategy",
    "CardInput",
    "ChangeCampaignInput",
    "ChangeCampaignInputCodeSourceType0",
    "ChangeCampaignInputEligibleType0",
    "ChangeCampaignInputStrategyType0",
    "ChangeDiscountInput",
    "ChangeDiscountInputTypeType0",
    "ChangeProductInput",
    "ChangeSaleInput",
    "ChangeSaleInputAdmissionType0",
    "ChangeWebhookEndpointInput",
    "CouponBody",
    "CouponBodyPage",
    "CouponBodyStatus",
    "CreateApiKeyInput",
    "CreateApiKeyInputScopesItem",
    "CreateCampaignInput",
    "CreateCampaignInputCodeSourceType0",
    "CreateCampaignInputEligibleType0",
    "CreateCampaignInputStrategyType0",
    "CreateProductInput",
    "CreateSaleInput",
    "CreateSaleInputAdmissionType0",
    "CreateWebhookEndpointInput",
    "DiscountBody",
    "DiscountBodyType",
    "DiscountInput",
    "DiscountInputType",
    "DisputeBody",
    "DisputeBodyStatus",
    "DrawBody",
    "EligibleAccountsBody",
    "EligibleAccountsInput",
    "EntryBody",
    "EntryBodyKind",
    "EntryBodyPage",
    "EventBody",
    "FailureBody",
    "FeedEventBody",
    "FeedEventBodyData",
    "FeedPageBody",
    "FieldError",
    "GetCampaignsCampaignIdCodesStatus",
    "GetCouponsStatus",
    "GetOrdersStatus",
    "GetProductsAvailability",
    "GetWebhookEndpointsEndpointIdDeliveriesStatus",
    "GrantInput",
    "IssueCouponInput",
    "ItemBody",
    "ItemInput",
    "NewWebhookEndpointBody",
    "NewWebhookEndpointBodyDisabledByType0",
    "NewWebhookEndpointBodyKind",
    "NextActionBody",
    "Nothing",
    "OrderBody",
    "OrderBodyPage",
    "OrderBodyStatus",
    "OrderPaymentBody",
    "OrderPaymentBodyStatus",
    "OwnAccountBody",
    "PauseInput",
    "PayInput",
    "PaymentBody",
    "PaymentBodyPage",
    "PaymentBodyStatus",
    "PlaceOrderInput",
    "PoolCodeBody",
    "PoolCodeBodyPage",
    "PoolCodeBodyStatus",
    "PostWebhooksGatewayBody",
    "Problem",
    "ProductBody",
    "ProductBodyPage",
    "ReceivedBody",
    "RefreshInput",
    "RefundBody",
    "RefundBodyPage",
    "RefundBodySource",
    "RefundBodyStatus",
    "RefundInput",
    "RefundItemBody",
    "RefundItemInput",
    "RegisterInput",
    "RenameCodeInput",
    "ResendInput",
    "SaleBody",
    "SaleBodyAdmission",
    "SaleBodyPage",
    "SaleBodyStatus",
    "SaleEntryBody",
    "SaleEntryBodyStatus",
    "SignInInput",
    "StockBody",
    "StockMovementBody",
    "StockMovementBodyKind",
    "StockMovementBodyPage",
    "TicketBody",
    "TicketBodyStatus",
    "TimelineBody",
    "TokensBody",
    "TopUpInput",
    "VoidCouponInput",
    "WalletBody",
    "WebhookDeliveryBody",
    "WebhookDeliveryBodyPage",
    "WebhookDeliveryBodyStatus",
    "WebhookEndpointBody",
    "WebhookEndpointBodyDisabledByType0",
    "WebhookEndpointBodyKind",
    "WebhookEndpointBodyPage",
)
