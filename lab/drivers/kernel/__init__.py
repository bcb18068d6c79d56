"""What drivers share whose nodes live in network namespaces of a Linux kernel."""
