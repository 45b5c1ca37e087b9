"""Access and refresh tokens: issued, verified, and refused after a sign-out or for a disabled account."""
