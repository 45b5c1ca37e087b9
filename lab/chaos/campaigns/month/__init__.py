"""The campaign `month`: thirty days by jumps of all clocks, the bounds of what grows, and sign-ins."""
