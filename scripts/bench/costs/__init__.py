"""The processor time that one part of the shop costs a web process: each module is a command of its own.

`without_metrics` is no package: it is a folder on the PYTHONPATH of a stack. No other part imports from here.
"""
