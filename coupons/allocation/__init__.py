"""What each request of a campaign gets: decided and written while the campaign's row is locked.

`eligibility` decides, `writes` writes; every strategy ends here.
"""
