"""The shop's migrations and a later one, which tests apply while other connections use its table."""

from foundation import migrations

__path__ = [*migrations.__path__, *__path__]
