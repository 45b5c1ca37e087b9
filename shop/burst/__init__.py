"""The burst lane: the calls of `table`, answered on the event loop past Django and REST framework."""
