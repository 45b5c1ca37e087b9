"""Filling the shop's tables as years of selling would: millions of coupons and orders, every law holding.

Rows are made by the database itself, in bites: a bite is one transaction with its counters, so an audit may
look at any moment. Foreign keys, unique keys and checks stay on. MariaDB only: its sequences count.
"""
