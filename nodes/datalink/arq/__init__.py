"""Automatic repeat request on a link: stop-and-wait, go-back-N and selective repeat."""
