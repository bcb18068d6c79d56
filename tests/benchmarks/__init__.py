"""What Layerlab costs and how fast it is, beside what else people use. Run it with `python -m tests.benchmarks`."""
