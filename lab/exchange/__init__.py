"""Topologies of other programs: read as ours, and written from ours."""
