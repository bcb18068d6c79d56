"""What scripts, tests and experiments drive a lab with: `from lab import Lab`."""
