"""TCP (RFC 9293), written as a team of units that are each tested without a connection."""
