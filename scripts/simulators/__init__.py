"""The outside systems of the shop, as processes that can be started, controlled and killed.

`gateway`, `data_platform` and `partner` are programs; `process` and `books` are what they share. They
know nothing of the shop, and of this folder's neighbours nothing either: they run in the shop's image too.
"""
