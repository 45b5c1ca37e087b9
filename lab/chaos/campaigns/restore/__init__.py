"""The campaign `restore`: a database is lost and restored; what that loses, and what outlives it."""
