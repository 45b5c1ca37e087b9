"""Allocation: deciding what each request for a campaign gets, and writing it under the campaign's row lock.

`eligibility` decides and `writes` writes; every strategy ends here.
"""
