"""Labs in other people's tests: a plugin for pytest."""
