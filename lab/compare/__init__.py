"""The strategies side by side, under the same loads on the same rows."""
