"""`make staff-pages`: how long the operators' pages and the staff's lists take over a million rows.

`pages` finds the addresses with the project's own code and counts the statements of each, in a process of its
own; `timing` requests them from the web process; `long_work` measures an upload, an export and a report.
"""
