"""Other people's programs, as one uses them: they know nothing of this project.

Each module has `server(address, port, ...)`, a coroutine function that serves until it is cancelled, and
`client(address, port, ...)`, one that uses the service in every way that it offers, checks what comes, and returns
what it found as a dictionary. Both run on any asyncio loop:

| where | which test |
|---|---|
| a plain loop, 127.0.0.1 of the machine | tests/unit/test_programs_plain.py: a failure is the program's |
| nodes in virtual time | tests/sim/test_programs.py |
| nodes in network namespaces, also beside Linux's own clients | tests/system/test_programs_lab.py |
"""
