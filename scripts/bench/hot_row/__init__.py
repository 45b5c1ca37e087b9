"""`make hot-row`: one campaign and one product that many web processes sell, with slow commits.

`__main__` starts a stack and prints the table, `nodes` has the processes, `slow_commits` the database backend
with which their commits take longer.
"""
