"""`make retention`: a month of millions of journal lines is archived, checked and restored beside sales."""
