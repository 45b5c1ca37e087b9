"""`make test-containers`: images and compose file on a real Docker engine, without an image registry."""
