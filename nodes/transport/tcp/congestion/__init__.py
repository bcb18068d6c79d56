"""Congestion control: one algorithm per file, behind the few hooks of `base`."""
