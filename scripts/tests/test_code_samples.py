"""The samples of code in the OpenAPI document: each is run, read or compiled as it stands."""

import json
import shlex
from urllib.parse import urlencode

import pytest

from firstcome_client import ApiKey, Shop
from foundation.tests import openapi_document
from scripts.stack import places
from scripts.tests import canned_shop, own_client, programs
from scripts.tests.canned_shop import Answer

EXAMPLES = [
    example
    for example in json.loads((places.PROJECT / "shop/api_examples.json").read_text())
    if "samples" in example
]
CALLS = {
    operation["operationId"]: (method.upper(), path)
    for path, item in openapi_document.read()["paths"].items()
    for method, operation in item.items()
}


def request_of(example):
    """The method, the path with its query, and the body."""
    method, path = CALLS[example["operation"]]
    query = f"?{urlencode(example['query'])}" if "query" in example else ""
    return method, path.format_map(example.get("path", {})) + query, example.get("body")


def test_the_python_samples_send_what_the_examples_say():
    with canned_shop.running() as server, Shop(server.address, ApiKey("fc_key_secret")) as shop:
        for example in EXAMPLES:
            server.queue(Answer(example["status"], example["answer"]))
            exec(example["samples"]["Python"], {"shop": shop})  # noqa: S102 - the code under test
            sent = server.sent.pop()
            body = json.dumps(sent.body).replace("+00:00", ".000000Z")
            assert (sent.method, sent.path, json.loads(body)) == request_of(example)


def test_the_lines_of_curl_send_what_the_examples_say():
    for example in EXAMPLES:
        program, address, *words = shlex.split(example["samples"]["Shell"].replace("\\\n", " "))
        options = dict(zip(words[::2], words[1::2], strict=True))
        body = json.loads(options["--json"]) if "--json" in options else None
        method = options.get("-X", "GET" if body is None else "POST")
        sent = method, address.removeprefix("$SHOP"), body
        assert (program, *sent) == ("curl", *request_of(example))


@pytest.mark.boots("tsc, which compiles every sample for TypeScript")
def test_the_typescript_samples_compile(tmp_path):
    own_client.install_npm(tmp_path)
    for example in EXAMPLES:
        shop = 'import type { Shop } from "firstcome-client";\ndeclare const shop: Shop;\n'
        sample = f"{shop}{example['samples']['TypeScript']}\n"
        (tmp_path / f"{example['operation']}.ts").write_text(sample)
    programs.run_lines(f"{own_client.COMPILE} --lib es2022,dom,dom.iterable *.ts", tmp_path)
