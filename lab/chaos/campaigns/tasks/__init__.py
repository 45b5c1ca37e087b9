"""The campaign `tasks`: messages twice, late and out of order, to two workers whose clocks drift apart."""
