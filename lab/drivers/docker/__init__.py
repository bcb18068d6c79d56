"""The docker driver: every node a container of a Docker engine on this machine."""
