"""A plan as a Compose file: a lab that needs nothing but `docker compose up` (docs/compose.md).

networks.py    which links become which Docker networks, and the addresses that Docker is to give there
refusals.py    what such a file cannot express, with its place in the topology
services.py    one service for each node: its settings, which it carries out itself
document.py    the file as text
"""
