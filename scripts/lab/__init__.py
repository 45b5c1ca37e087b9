"""`make lab`: every strategy under the same load on the same rows, side by side in one report.

`scenarios` says what there is to run, `running` takes a case to its row, `report` writes them all down.
"""
