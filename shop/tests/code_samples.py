"""How a call of the API is made by curl and by the project's clients, for the OpenAPI document."""

import json
import re
import shlex
from textwrap import indent
from typing import Any
from urllib.parse import urlencode

KEY = "Idempotency-Key"
NEW_KEY = "newKey()"


def of_call(method: str, path: str, operation, example: dict[str, Any]) -> dict[str, str]:
    """Samples of this example by language; `operation` is the document's, and `path` has no values yet."""
    return {
        "Shell": _curl(method, path, operation, example),
        "Python": _python(operation, example),
        "TypeScript": _typescript(method, path, operation, example),
    }


def _curl(method, path, operation, example):
    query = urlencode(example.get("query", {}))
    lines = [f'curl "$SHOP{path.format_map(example.get("path", {}))}{query and "?"}{query}"']
    if method not in {"get", "post"}:
        lines.append(f"-X {method.upper()}")
    security = operation.get("security", [])
    if security and {} not in security:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    if needs_key(operation):
        lines.append(f'-H "{KEY}: $(uuidgen)"')
    if "body" in example:
        lines.append(f"--json {shlex.quote(_json(example['body']))}")
    return " \\\n  ".join(lines)


def _python(operation, example):
    name = example["operation"]
    call = re.sub("([A-Z])", r"_\1", name).lower()
    package = re.sub(r"\W", "_", operation["tags"][0])
    imports = [f"from firstcome_client.generated.api.{package} import {call}"]
    formats = {one["name"]: one["schema"].get("format") for one in operation.get("parameters", [])}
    arguments = {"client": "shop.api"}
    for parameter, value in (example.get("path", {}) | example.get("query", {})).items():
        arguments[parameter] = f'UUID("{value}")' if formats[parameter] == "uuid" else json.dumps(value)
    own = []
    if needs_key(operation):
        own.append("new_key")
        arguments["idempotency_key"] = "new_key()"
    if "body" in example:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        model = schema.get("$ref", f"{name[0].upper()}{name[1:]}Body").rpartition("/")[2]
        imports.append(f"from firstcome_client.generated.models import {model}")
        arguments["body"] = f"{model}.from_dict({_literal(example['body'])})"
    given = "".join(f"{argument}={value},\n" for argument, value in arguments.items())
    if example["answer"] is None:
        made = f"{call}.sync_detailed(\n{indent(given, '    ')})"
    else:
        own.insert(0, "checked")
        made = f"answer = checked(\n    {call}.sync(\n{indent(given, ' ' * 8)}    )\n)"
    if own:
        imports.insert(0, f"from firstcome_client import {', '.join(own)}")
    if "UUID(" in given:
        imports.insert(0, "from uuid import UUID\n")
    return "\n".join([*imports, "", made])


def _literal(body):
    names = {"true": "True", "false": "False", "null": "None"}
    return re.sub(r": (true|false|null)\b", lambda found: f": {names[found[1]]}", _json(body, 4))


def _typescript(method, path, operation, example):
    parameters = {name: example[name] for name in ("path", "query") if name in example}
    own = [] if example["answer"] is None else ["checked"]
    if needs_key(operation):
        own.append("newKey")
        parameters["header"] = {KEY: NEW_KEY}
    options = {"params": parameters} if parameters else {}
    if "body" in example:
        options["body"] = example["body"]
    given = re.sub(r'"(\w+)":', r"\1:", _json(options)).replace(f'"{NEW_KEY}"', NEW_KEY)
    arguments = f'"{path}", {given}' if options else f'"{path}"'
    made = f"shop.api.{method.upper()}({arguments})"
    imports = f'import {{ {", ".join(own)} }} from "firstcome-client";\n\n' if own else ""
    return imports + (f"const answer = await checked({made});" if "checked" in own else f"await {made};")


def needs_key(operation) -> bool:
    parameters = operation.get("parameters", [])
    return any(one["name"] == KEY and one.get("required") for one in parameters)


def _json(value, spaces=2):
    return json.dumps(value, indent=spaces, ensure_ascii=False)
