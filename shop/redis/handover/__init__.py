"""Hand-over of batches: processes that want the same hot row have one of them decide for all.

`handover` is what a batcher calls, `leadership` says which process leads a row, `serving` decides what others
handed over, `messages` is what travels. Off by default: `HAND_OVER_BATCHES`.
"""
