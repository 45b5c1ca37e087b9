"""Programs that are not the shop's own: which packages bring them, and how each is started beside a stack.

`system_packages` and `node_packages` need the standard library alone: `scripts/bootstrap.py` imports them
before anything is installed. Modules here may import those of `scripts.stack`, which import none of these.
"""
