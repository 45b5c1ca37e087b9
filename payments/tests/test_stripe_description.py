"""The Stripe adapter beside Stripe's own description: no parameter, field or value beside it."""

from typing import Literal, get_args, get_origin

import stripe
from pydantic import BaseModel

from foundation.tests.case_tables import in_one_test
from payments.gateways import stripe_api, stripe_calls
from payments.gateways.calls import ReplyPart
from payments.tests import stripe_description
from payments.tests.stripe_description import literals, members

DESCRIBED = {
    stripe_calls.Intent: (stripe.PaymentIntent,),
    stripe_calls.LatestCharge: (stripe.Charge,),
    stripe_calls.PaymentError: (stripe.PaymentIntent.LastPaymentError,),
    stripe_calls.NextAction: (stripe.PaymentIntent.NextAction,),
    stripe_calls.Redirect: (stripe.PaymentIntent.NextAction.RedirectToUrl,),
    stripe_calls.Refund: (stripe.Refund,),
    stripe_calls.Dispute: (stripe.Dispute,),
    stripe_calls.EvidenceDetails: (stripe.Dispute.EvidenceDetails,),
    stripe_calls.ListItem: (stripe.PaymentIntent, stripe.Refund, stripe.Dispute),
    stripe_calls.Page: (stripe.ListObject, stripe.SearchResultObject),
}
NOT_DESCRIBED = {
    # The envelope of a refusal: the package itself reads `error`, and describes what is in it alone.
    stripe_calls.Failure: {"error"},
    # Every error of Stripe's API has a type; the package's class of it lists codes and parameters alone.
    stripe_calls.ErrorPart: {"type"},
}
MODELS = [one for one in vars(stripe_calls).values() if isinstance(one, type) and issubclass(one, ReplyPart)]
EVENT_OBJECTS = {
    "payment_intent": stripe.PaymentIntent,
    "charge": stripe.Charge,
    "refund": stripe.Refund,
    "charge.refund": stripe.Refund,
    "charge.dispute": stripe.Dispute,
}


@in_one_test("model", [one for one in MODELS if one is not ReplyPart])
def test_every_field_that_is_read_is_one_of_stripes_objects(model):
    if model in NOT_DESCRIBED:
        assert model.model_fields.keys() == NOT_DESCRIBED[model]
        return
    for described in DESCRIBED[model]:
        # Every object has the name of its kind, which the package's lists keep as a constant alone.
        unknown = model.model_fields.keys() - stripe_description.hints(described).keys() - {"object"}

        assert not unknown, (described, unknown)


@in_one_test("model", DESCRIBED)
def test_a_field_that_is_an_object_is_the_object_that_stripe_has_there(model):
    for name, field in model.model_fields.items():
        inner = [one for one in members(field.annotation) if _is_model(one) and one in DESCRIBED]
        theirs = {
            one for hint in DESCRIBED[model] for one in members(stripe_description.hints(hint).get(name))
        }

        assert all(theirs.intersection(DESCRIBED[one]) for one in inner), (name, theirs)


@in_one_test(
    ("model", "described"),
    [(stripe_calls.Intent, stripe.PaymentIntent), (stripe_calls.Refund, stripe.Refund)],
)
def test_the_values_that_are_known_are_those_that_stripe_lists(model, described):
    """A status that the adapter doesn't know would be an answer that it can't read."""
    theirs = stripe_description.hints(described)
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is not Literal:
            continue
        listed = literals(theirs[name])
        assert not listed or set(get_args(field.annotation)) == listed, name


def test_the_events_that_are_known_are_stripes_and_their_objects_have_metadata():
    types = literals(stripe_description.hints(stripe.Event)["type"])

    assert stripe_api.EVENT_TYPES.keys() <= types
    for type in stripe_api.EVENT_TYPES:
        kind = type.rpartition(".")[0]
        fields = stripe_description.hints(EVENT_OBJECTS[kind])
        assert "metadata" in fields, type
        assert kind.rpartition(".")[2] not in stripe_api.NAMED_BY_REFERENCE or "payment_intent" in fields


def test_the_fields_of_an_event_that_are_read_are_stripes():
    event = stripe_description.hints(stripe.Event)

    assert {"id", "type", "data"} <= event.keys()
    assert "object" in stripe_description.hints(event["data"])


def test_the_version_that_is_sent_is_the_one_that_the_package_describes():
    """After an update of the package: read Stripe's changes between the versions, and pin the new one."""
    assert stripe.api_version == stripe_calls.API_VERSION


def _is_model(hint):
    return isinstance(hint, type) and issubclass(hint, BaseModel)
