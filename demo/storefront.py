"""The page at `/demo/`, where `DEMO` turns it on: its scripts sell by the public API, as any client may.

It hands its scripts their texts: `{name}` in one stands for a value that the script puts in.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import gettext, gettext_noop as _
from django.views.decorators.http import require_safe

from accounts.demo_accounts import BUYER, BUYER_PASSWORD
from shop import money
from shop.admin_base.status_words import WORDS
from shop.errors import NotFound
from shop.http import problems, views
from shop.lazy_texts import mark

CARDS = {
    "tok_ok": _("is charged."),
    "tok_slow": _("is charged after two seconds."),
    "tok_flaky": _("fails twice at the gateway, then is charged: the shop tries again by itself."),
    "tok_timeout_charged": _("is charged, but the gateway's answer never comes: the shop asks it by key."),
    "tok_timeout_lost": _("is never charged, and no answer comes: the shop gives up after a while."),
    "tok_webhook": _("is charged two seconds later, which the gateway reports by a webhook."),
    "tok_3ds": _("asks its owner, on a page of the gateway with two buttons."),
    "tok_declined": _("is refused by the gateway."),
    "tok_insufficient_funds": _("is refused, because the card has too little."),
}
"""Card tokens of the gateway simulator that the page offers, and what happens with each."""

STATUSES = {
    "order": "awaiting_payment paying paid refunding refunded payment_failed cancelled expired",
    "coupon": "issued held redeemed expired void",
    "sale": "scheduled open paused closed",
}

TEXTS = {
    "demo": _("demo"),
    "loading": _("Loading …"),
    "skip": _("Skip to the content"),
    "back": _("Back to the shop"),
    "offline": _("The shop does not answer. Try again."),
    "stale": _("The shop does not answer just now. What is shown may be old; the page asks again."),
    "try_now": _("Try again now"),
    "paused": _("paused"),
    "opens_in": _("Opens in"),
    "time.seconds": _("{count} s"),
    "time.minutes": _("{count} min"),
    "time.days": _("{count} days"),
    "sign_in": _("Sign in"),
    "sign_out": _("Sign out"),
    "signed_out": _("You are signed out."),
    "signed_out.pending": _(
        "You are signed out. The purchase without an answer goes on when this account signs in again."
    ),
    "signed_out.lapsed": _(
        "The sign-in has ended: sign in again. A purchase without an answer goes on then."
    ),
    "username": _("Username"),
    "password": _("Password"),
    "account.points": _("{amount} in points"),
    "demo_accounts": _("Accounts of the demo"),
    "demo_accounts.about": _(
        "This one has points. user-1 to user-100 have the same password: sign in as one of them in a second "
        "browser, and race for the last piece."
    ),
    "demo_accounts.use": _("Sign in with this account"),
    "home.title": _("What is on sale"),
    "home.about": _("What is left is read again every two seconds. First come, first served."),
    "products": _("Products"),
    "products.none": _("There are no other products."),
    "product": _("Product"),
    "product.left": _("{count} left"),
    "product.reserved": _("all reserved"),
    "product.limit": _("At most {count} for an account"),
    "sale.over": _("the sale is over"),
    "sold_out": _("sold out"),
    "sold_out.now": _("{name} is sold out."),
    "sold_out.late": _("Sold out: the last piece is gone."),
    "coupons": _("Coupons"),
    "coupons.none": _("There is no campaign just now."),
    "coupons.awaiting_codes": _("not started yet"),
    "coupons.left": _("{count} of {total} left"),
    "coupon.claim": _("Claim a coupon"),
    "coupon.claim.of": _("Claim a coupon of {name}"),
    "coupon.asking": _("Claiming …"),
    "coupon.waiting": _("In the queue: {ahead} ahead of you."),
    "coupon.issued": _("You have a coupon: {code}."),
    "coupon.own": _("Your coupon:"),
    "discount": _("{amount} off"),
    "discount.most": _("at most {amount}"),
    "discount.from": _("from {amount} on"),
    "orders": _("Your newest orders"),
    "orders.none": _("None yet."),
    "buy": _("Buy"),
    "buy.of": _("Buy {name}"),
    "buy.now": _("Buy now"),
    "buy.asking": _("Buying …"),
    "buy.sign_in": _("Sign in to buy."),
    "quantity": _("Quantity"),
    "coupon": _("Coupon"),
    "coupon.none": _("No coupon"),
    "points": _("Points to use"),
    "points.help": _("The wallet has {amount}."),
    "card": _("Card"),
    "card.help": _("The gateway is a simulator: the token decides what becomes of the payment."),
    "amount": _("Amount"),
    "amount.items": _("Items"),
    "amount.discount": _("Coupon"),
    "amount.total": _("Total"),
    "amount.points": _("By points"),
    "amount.card": _("By card"),
    "amount.refunded": _("Refunded"),
    "purchase.asking": _("Buying. You may reload this page: nothing is bought twice."),
    "purchase.offline": _(
        "No answer came, so it is not known yet whether it was bought. The page asks again with the same "
        "key: nothing is bought twice."
    ),
    "purchase.busy": _("The page tries again by itself; nothing is bought twice."),
    "receipt": _("Receipt"),
    "order": _("Order"),
    "order.number": _("Order number"),
    "order.placed": _("Placed on {time}"),
    "order.paying.about": _("The payment is under way. This page follows it."),
    "order.awaiting_payment.about": _("It is not paid yet."),
    "order.paid.about": _("Thank you. It is yours."),
    "order.payment_failed.about": _("Nothing was bought, and nothing stays charged."),
    "order.expired.about": _("It was not paid in time. Its stock is available again."),
    "timeline": _("What happened"),
    "action.about": _("The card's owner must confirm the payment. Time left:"),
    "action.confirm": _("Confirm it at the bank"),
    "another_card.about": _("The card was refused. The order is kept for another one. Time left:"),
    "another_card.pay": _("Pay with this card"),
    # By the `event` of a line of the timeline; another one is shown as it is.
    "event.order.placed": _("Order placed"),
    "event.order.paid": _("Order paid"),
    "event.order.payment_failed": _("Payment failed"),
    "event.order.kept": _("Order kept for another card"),
    "event.order.cancelled": _("Order cancelled"),
    "event.order.expired": _("Order expired"),
    "event.order.refunded": _("Order refunded"),
    "event.payment.disputed": _("Payment disputed"),
    "event.payment.dispute_closed": _("Dispute decided"),
    "event.refund.requested": _("Refund requested"),
    "event.refund.failed": _("Refund failed"),
    "event.reserve_inventory.done": _("Stock reserved"),
    "event.reserve_inventory.undo.done": _("Stock available again"),
    "event.reserve_inventory.undo.skipped": _("Stock still reserved"),
    "event.hold_coupon.done": _("Coupon held"),
    "event.hold_coupon.skipped": _("No coupon to hold"),
    "event.hold_coupon.undo.done": _("Coupon usable again"),
    "event.hold_coupon.undo.skipped": _("The coupon stays as it was"),
    "event.debit_balance.done": _("Points held"),
    "event.debit_balance.skipped": _("No points to hold"),
    "event.debit_balance.undo.done": _("Points in the wallet again"),
    "event.debit_balance.undo.skipped": _("No points were held"),
    "event.charge_card.done": _("Card charged"),
    "event.charge_card.skipped": _("Nothing to charge by card"),
    "event.charge_card.requires_action": _("Waiting for the card's owner"),
    "event.charge_card.refused": _("Card refused"),
    "event.charge_card.void": _("Charge given up"),
    "event.charge_card.undo.done": _("Charge cancelled at the gateway"),
    "event.charge_card.undo.skipped": _("Nothing was charged"),
    "event.settle.done": _("Sale booked"),
    "event.transmit.done": _("Data platform notified"),
    "event.refund_card.done": _("Card refunded"),
    "event.refund_card.skipped": _("Nothing to refund by card"),
    "event.settle_refund.done": _("Refund booked"),
    "room.none.title": _("Waiting room"),
    "room.none.before": _(
        "Take a place before it opens. The order is drawn at the opening: being early is worth nothing."
    ),
    "room.none.open": _("Buyers are admitted one after the other. Take a place to be admitted."),
    "room.opens": _("Opens on {time}"),
    "room.enter": _("Take a place"),
    "room.enter.again": _("Take a new place at the end"),
    "room.waiting.title": _("You have a place"),
    "room.waiting.draw": _("The order is drawn at the opening. Keep this page open, or come back."),
    "room.ahead": _("{count} ahead of you"),
    "room.wait": _("About {time} to go."),
    "room.paused": _("The sale is paused. Your place is kept."),
    "room.stale": _("The shop does not answer just now. Your place is kept."),
    "room.admitted.title": _("You may buy now"),
    "room.admitted.about": _("Choose one of the products. This is the time that is left to order:"),
    "room.used.title": _("You have ordered"),
    "room.used.about": _("Your place was used by an order. If that ends unpaid, you may take a new one."),
    "room.expired.title": _("Your time is over"),
    "room.expired.about": _("Nothing was ordered in time, so the next one was admitted."),
    "room.over.title": _("Sold out"),
    "room.over.about": _("Nothing of this sale is left."),
    "draw": _("How is the order decided?"),
    "draw.about": _(
        "Before the opening the shop publishes the SHA-256 of a secret seed, and at the opening the seed "
        "itself and a hash over all entries. Entries are put in ascending order of HMAC-SHA256(seed, hash of "
        "entries + entry), so neither the shop nor a buyer can choose a place, and you can compute yours."
    ),
    "draw.entry": _("Your entry:"),
    "draw.figures": _("Seed and hashes of this sale"),
    # By the `code` of a problem; any other is shown by its `detail`, which is in the reader's language.
    "refused.other": _("The shop refused it ({status}). Reload the page, and try again."),
    "refused.otp_required": _("Staff sign in to the admin. Use an account of the demo."),
    "refused.throttled": _("Too many tries. Wait for {time}, then try again."),
    "refused.product_not_found": _("This product is not for sale."),
    "refused.campaign_not_open": _("It opens in {time}."),
    "refused.failed": _("The queue could not issue the coupon. Try again."),
    "refused.sale_not_open": _("The sale opens in {time}."),
    "refused.sale_closed": _("The sale is over."),
    **{f"card.{name}": text for name, text in CARDS.items()},
    **{f"{kind}.{status}": WORDS[status] for kind, named in STATUSES.items() for status in named.split()},
}
# Scripts, styles and calls are of this origin, nothing is inline, and only lit-html makes elements of text.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)


@require_safe
def storefront(request: HttpRequest) -> HttpResponse:
    """The page, which has no figures: its scripts read them. 404 where the demo is off."""
    if not settings.DEMO:
        return problems.from_error(
            NotFound(mark(_("There is no such page."))), translation.get_language()
        ).to_django()
    options = {
        "api": views.API_PREFIX.rstrip("/"),
        "brand": settings.UNFOLD["SITE_HEADER"],
        "language": translation.get_language(),
        "currency": settings.CURRENCY,
        "currencyDigits": money.digits_of(settings.CURRENCY),
        "demoUsername": BUYER,
        "demoPassword": BUYER_PASSWORD,
        "cards": list(CARDS),
        "texts": {name: gettext(text) for name, text in TEXTS.items()},
    }
    response = render(request, "storefront/page.html", {"options": options})
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response["Cache-Control"] = "no-cache"
    return response
