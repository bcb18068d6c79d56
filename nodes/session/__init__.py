"""Layer 5: sockets on the stack, and the asyncio event loop over them."""
