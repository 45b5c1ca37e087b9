"""The checks: each function does one thing to the containers, and raises CheckFailed where it is not so."""
