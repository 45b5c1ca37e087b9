"""What the shop's packages are, and what is known against them: `make audit-dependencies` and `make sbom`."""
