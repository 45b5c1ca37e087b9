"""`make lab`: every strategy under the same load on the same rows, side by side in one report."""
