"""What the shop is made of: known vulnerabilities of the pinned packages, and their bill of materials."""
