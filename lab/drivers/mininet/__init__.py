"""The mininet driver."""
