"""`python -m lab` is the command `lab`."""

from lab.cli.entry import main

main()
