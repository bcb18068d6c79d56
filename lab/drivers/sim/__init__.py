"""The same plan in virtual time, in one process."""
