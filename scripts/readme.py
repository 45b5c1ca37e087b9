"""The session of README.md, as a reader pastes it."""

import re

from scripts import places
from scripts.instance import Instance
from scripts.ports import HOST
from scripts.setup_error import SetupError

SESSION = re.compile(r"^## A session\n.*?^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def session(instance: Instance) -> str:
    """The block, with the addresses of this instance. Raises SetupError when it isn't where it should be."""
    found = SESSION.search((places.PROJECT / "README.md").read_text())
    if found is None:
        raise SetupError("README.md has no block of shell below `## A session`: put it back")
    addresses = {"SHOP": instance.port, "GATEWAY": instance.gateway_port}
    text = found.group(1)
    for name, port in addresses.items():
        text, count = re.subn(rf"^{name}=\S+$", f"{name}=http://{HOST}:{port}", text, flags=re.MULTILINE)
        if count != 1:
            raise SetupError(f"README.md's session has {count} lines {name}=…: it needs one to begin with")
    return text
