"""The card tokens that the gateway answers to."""

from scripts.simulators.charges import CARDS as CARDS
