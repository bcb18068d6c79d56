"""Virtual time: a network of stacks in one process, and the programs in its nodes."""
