"""The OpenAPI document in docs/, for tests."""

import functools

import yaml

from scripts.stack import places


@functools.cache
def read():
    # By libyaml, which takes a quarter of the time.
    return yaml.load((places.PROJECT / "docs" / "openapi.yaml").read_text(), Loader=yaml.CSafeLoader)
