"""Stripe's own description of its API, as its package ships it: typed objects of one version.

The type checker holds the parameters of every request against it.
"""

import builtins
import sys
import typing
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import stripe
from typing_extensions import get_type_hints


class Names(dict[str, Any]):
    """Classes by their names in a module of the package, which imports most for type checkers alone.

    What is not found stands for nothing that a request or an answer could be.
    """

    def __init__(self, module):
        super().__init__()
        self._module = module

    def __missing__(self, name):
        if name in self._module or hasattr(builtins, name):
            raise KeyError(name)
        return getattr(stripe, name, getattr(typing, name, NeverFits))


class NeverFits:
    """In the place of a class that has another name where it is imported."""


def hints(described: type) -> dict[str, Any]:
    """The annotations of a class of the package, with classes in the place of their names."""
    module = vars(sys.modules[described.__module__])
    return get_type_hints(described, globalns=module, localns=Names(module))


def members(hint):
    """The types that a union or an optional type allows, without None."""
    if get_origin(hint) in (Union, UnionType):
        for inner in get_args(hint):
            yield from members(inner)
    elif hint is not type(None):
        yield hint


def literals(hint) -> set[str]:
    """The values that the type lists; empty where it lists none."""
    return {value for one in members(hint) if get_origin(one) is Literal for value in get_args(one)}
