"""The floor: what every app builds on, and which knows none of them.

Its tables, permissions and pages keep the label `shop`, for they lay in the project's folder once.
"""
