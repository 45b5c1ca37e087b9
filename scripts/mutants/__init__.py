"""`make mutants`: how many small defects, planted in the code that decides, the tests notice.

`mutations` has the defects, `coverage_map` which tests run a line, `running` a fork for each defect.
"""
