"""CPython's own tests of asyncio, on our loop.

`python -m tests.cpython` runs modules of the interpreter's `test.test_asyncio` with a `StackEventLoop` wherever they
make a loop. All their sockets live in one simulated node and talk over its 127.0.0.1.

Half of these tests have a second side that is no asyncio: a thread with blocking sockets of the kernel, often with
`ssl.wrap_socket`. `mirror.py` joins the two worlds: a port on which such a thread listens is there in the node as well,
and the other way round. While such threads live, time in the node goes on as on the machine's clock; otherwise it
jumps.

`reasons.py` says which tests do not apply, and why. Every other test must pass.
"""
