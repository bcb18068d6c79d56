"""The engine against a kernel whose netem has a seed: `make oracle-seeded`, which neither `make test` nor CI runs."""
