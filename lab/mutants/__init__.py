"""`make mutants`: how many small defects, planted in the code that decides, the tests notice."""
