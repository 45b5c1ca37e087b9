"""`make cluster-drill`: one fault after the other in a cluster of its own under load, and what each cost."""
