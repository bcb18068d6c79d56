"""One loopback out of two: the kernel's 127.0.0.1 and that of a simulated node.

    thread ── kernel socket ── kernel's 127.0.0.1:P ══ relay ══ node's 127.0.0.1:P ── StackEventLoop

A kernel socket that begins to listen on a port makes a listener of the node on the same port; a kernel socket that
connects to a port on which only the node listens makes one of the kernel. Both relays keep the client's port number, so
that both sides see the same addresses. The end of a stream, and a reset, are passed on as what they are. Datagrams go
from the node to kernel sockets and back.

Everything happens in `poll`, in the thread of the loop; what other threads do is only noted.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from nodes.errors import StackError
from nodes.session.session import EndpointOwner, Session
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.udp_socket import UdpSocket
from nodes.wire.addresses import format_ip4, parse_ip4

LOOPBACK = parse_ip4("127.0.0.1")
HOSTS = ("127.0.0.1", "0.0.0.0", "localhost", "")
CHUNK = 65_536
BACKLOG = 100
RESET = struct.pack("ii", 1, 0)
"""Linger for no time at all: closing resets."""

kernel_accept = socket.socket.accept
kernel_listen = socket.socket.listen
kernel_bind = socket.socket.bind
kernel_connect = socket.socket.connect
kernel_connect_ex = socket.socket.connect_ex
plain_join = threading.Thread.join


class Mirror(EndpointOwner):
    """For one session. `install` replaces methods of `socket.socket` for as long as its context lasts.

    `pump` lets the node live for a moment. The kernel completes handshakes and sends what is left while a program
    sleeps in `accept` or waits for a thread; where a test does that in the thread of the loop, somebody has to do it
    for the node."""

    def __init__(self, session: Session, pump: Callable[[], None]) -> None:
        self._session = session
        self._pump = pump
        self._noted: deque[tuple[weakref.ref[socket.socket], int, bool]] = deque()
        self._kernel_ports: set[int] = set()
        """Where the kernel listens, or did: noted at once, before any other thread can ask."""
        self._towards_kernel: dict[int, tuple[weakref.ref[socket.socket], TcpSocket]] = {}
        self._towards_node: dict[int, socket.socket] = {}
        self._datagrams: dict[int, DatagramRelay] = {}
        self._relays: list[Relay] = []
        self._ours: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.rung = False
        self._offering = threading.Lock()

    @property
    def busy(self) -> bool:
        """There is a kernel side."""
        return bool(self._noted or self._towards_kernel or self._towards_node or self._datagrams or self._relays)

    def sockets(self) -> list[socket.socket]:
        """The kernel's sockets from which something may come."""
        waiting = [relay.outside for relay in self._relays if relay.wants_to_read]
        datagrams = [each for relay in self._datagrams.values() for each in relay.outside.values()]
        return [*waiting, *self._towards_node.values(), *datagrams]

    def clear(self) -> None:
        """A new stack takes the place of the old: nothing of that is left."""
        for relay in self._relays:
            relay.outside.close()
        for listener in self._towards_node.values():
            listener.close()
        for datagrams in self._datagrams.values():
            datagrams.close()
        for each in (
            self._noted,
            self._kernel_ports,
            self._towards_kernel,
            self._towards_node,
            self._datagrams,
            self._relays,
        ):
            each.clear()

    def ready(self, now: int) -> None:
        """The stack rings for one of our endpoints."""
        self.rung = True

    # ---------------------------------------------------------------------------------------- what other threads begin

    @contextlib.contextmanager
    def install(self) -> Iterator[None]:
        mirror = self

        def listen(self: socket.socket, *backlog: int) -> None:
            kernel_listen(self, *backlog)
            mirror._note(self, datagrams=False)

        def bind(self: socket.socket, address: Any) -> None:
            kernel_bind(self, address)
            if self.family == socket.AF_INET and self.type == socket.SOCK_DGRAM:
                mirror._note(self, datagrams=True)

        def connect(self: socket.socket, address: Any) -> None:
            kernel_connect(self, mirror._offer(self, address))

        def connect_ex(self: socket.socket, address: Any) -> int:
            return kernel_connect_ex(self, mirror._offer(self, address))

        def accept(self: socket.socket) -> tuple[socket.socket, Any]:
            while self.gettimeout() is None and _in_main_thread() and not select.select([self], [], [], 0)[0]:
                mirror._pump()
            return kernel_accept(self)

        def join(self: threading.Thread, timeout: float | None = None) -> None:
            while timeout is None and _in_main_thread() and self.is_alive():
                mirror._pump()
            plain_join(self, timeout)

        replaced = {
            (socket.socket, "accept"): accept,
            (socket.socket, "bind"): bind,
            (socket.socket, "connect"): connect,
            (socket.socket, "connect_ex"): connect_ex,
            (socket.socket, "listen"): listen,
            (threading.Thread, "join"): join,
        }
        originals = {(owner, name): getattr(owner, name) for owner, name in replaced}
        for (owner, name), function in replaced.items():
            setattr(owner, name, function)
        try:
            yield
        finally:
            for (owner, name), original in originals.items():
                setattr(owner, name, original)

    def _note(self, outside: socket.socket, *, datagrams: bool) -> None:
        if outside.family == socket.AF_INET and outside not in self._ours:
            host, port = outside.getsockname()
            if host in HOSTS:
                if not datagrams:
                    self._kernel_ports.add(port)
                self._noted.append((weakref.ref(outside), port, datagrams))

    def _offer(self, outside: socket.socket, address: Any) -> Any:
        """A kernel socket is about to connect: let there be a listener if the node has one there. Returns where it is:
        at the same port, unless another process of the machine has that."""
        if outside.family != socket.AF_INET or outside.type != socket.SOCK_STREAM or outside in self._ours:
            return address
        with self._offering:  # clients in threads begin at the same time
            return self._offered(*address)

    def _offered(self, host: str, port: int) -> tuple[str, int]:
        listening = self._listening()
        for each in [each for each in self._towards_node if each not in listening]:
            self._towards_node.pop(each).close()
        if host in HOSTS and port in listening and port not in self._towards_node:
            listener = self._own()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                kernel_bind(listener, ("127.0.0.1", port))
                kernel_listen(listener, BACKLOG)
            except OSError:
                listener.close()
                listener = self._own()
                kernel_listen(listener, BACKLOG)  # at a port that is free
            self._towards_node[port] = listener
        if host in HOSTS and port in self._towards_node:
            return "127.0.0.1", self._towards_node[port].getsockname()[1]
        return host, port

    def _own(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        mine = socket.socket(socket.AF_INET, kind)
        mine.setblocking(False)
        self._ours.add(mine)
        return mine

    def _listening(self) -> set[int]:
        """Ports on which the node listens, beside those that mirror the kernel's."""
        return set(self._session.stack.tcp._listeners) - self._kernel_ports

    # ----------------------------------------------------------------------------------------------------------- polls

    def poll(self) -> bool:
        """Move what can be moved. Returns whether anything was."""
        moved, self.rung = self.rung, False
        now = self._session.now()
        moved |= self._take_notes(now)
        moved |= self._accept_in_node(now)
        moved |= self._accept_in_kernel(now)
        for relay in self._relays:
            moved |= relay.move(now)
        self._relays = [relay for relay in self._relays if not relay.over]
        for datagrams in self._datagrams.values():
            moved |= datagrams.move(now)
        if moved:
            self._session.touched()
        return moved

    def _take_notes(self, now: int) -> bool:
        """Listeners that came, and those that went."""
        changed = bool(self._noted)
        while self._noted:
            reference, port, datagrams = self._noted.popleft()
            if _gone(reference):
                if not datagrams and port not in self._towards_kernel:
                    self._kernel_ports.discard(port)
                continue
            with contextlib.suppress(StackError):  # the node uses the port itself
                if datagrams:
                    self._datagrams[port] = DatagramRelay(self, self._session, reference, port, now)
                elif port not in self._towards_kernel:
                    inside = self._session.stack.tcp.open()
                    inside.bind(LOOPBACK, port, now)
                    inside.listen(BACKLOG, now)
                    inside.owner = self
                    self._towards_kernel[port] = reference, inside
        for port, (reference, inside) in list(self._towards_kernel.items()):
            if _gone(reference):
                inside.close(now)
                del self._towards_kernel[port]
                self._kernel_ports.discard(port)
                changed = True
        for port, relay in list(self._datagrams.items()):
            if _gone(relay.reference):
                relay.close()
                relay.inside.close(now)
                del self._datagrams[port]
        for port in [port for port in self._towards_node if port not in self._listening()]:
            self._towards_node.pop(port).close()
        return changed

    def _accept_in_node(self, now: int) -> bool:
        moved = False
        for port, (_, listener) in self._towards_kernel.items():
            while (inside := listener.accept()) is not None:
                moved = True
                outside = self._own()
                with contextlib.suppress(OSError):  # the number is taken: another one
                    outside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    kernel_bind(outside, ("127.0.0.1", inside.remote[1]))
                kernel_connect_ex(outside, ("127.0.0.1", port))
                self._relays.append(Relay(self, inside, outside))
        return moved

    def _accept_in_kernel(self, now: int) -> bool:
        moved = False
        for port, listener in self._towards_node.items():
            with contextlib.suppress(BlockingIOError):
                outside, (_, number) = listener.accept()
                moved = True
                self._ours.add(outside)
                outside.setblocking(False)
                inside = self._session.stack.tcp.open()
                with contextlib.suppress(StackError):
                    inside.bind(LOOPBACK, number, now)
                inside.connect(LOOPBACK, port, now)
                self._relays.append(Relay(self, inside, outside))
        return moved


class Relay:
    """A connection of the node and one of the kernel, joined."""

    def __init__(self, owner: object, inside: TcpSocket, outside: socket.socket) -> None:
        self.inside, self.outside = inside, outside
        inside.owner = owner
        self._in = self._out = b""
        self._in_ended = self._out_ended = False
        self.over = False

    @property
    def wants_to_read(self) -> bool:
        return not (self._out or self._out_ended)

    def move(self, now: int) -> bool:
        try:
            outward = self._outward(now)
            return self._inward(now) or outward
        except StackError:
            self.outside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        except OSError:
            self.inside.abort(now)
        self._end(now)
        return True

    def _inward(self, now: int) -> bool:
        """From the kernel into the node."""
        moved = False
        if not (self._out or self._out_ended):
            with contextlib.suppress(BlockingIOError):
                self._out = self.outside.recv(CHUNK)
                self._out_ended = not self._out
                moved = True
                if self._out_ended:
                    self.inside.shutdown(now)
        if self._out and self.inside.connected:
            taken = self.inside.send(self._out, now)
            self._out = self._out[taken:]
            moved |= bool(taken)
        if self._in_ended and self._out_ended and not (self._in or self._out):
            self._end(now)
        return moved

    def _outward(self, now: int) -> bool:
        """From the node into the kernel."""
        moved = False
        if not (self._in or self._in_ended):
            data = self.inside.receive(CHUNK)
            moved = data is not None
            self._in, self._in_ended = data or b"", data == b""
            if self._in_ended:
                self.outside.shutdown(socket.SHUT_WR)
        if self._in:
            with contextlib.suppress(BlockingIOError):
                self._in = self._in[self.outside.send(self._in) :]
                moved = True
        return moved

    def _end(self, now: int) -> None:
        self.over = True
        self.outside.close()
        self.inside.close(now)


class DatagramRelay:
    """A kernel socket's port in the node: each client of the node has a socket of its own in the kernel, with the same
    port number."""

    def __init__(
        self, mirror: Mirror, session: Session, reference: weakref.ref[socket.socket], port: int, now: int
    ) -> None:
        self.reference = reference
        self.inside: UdpSocket = session.stack.udp.open()
        self.inside.bind(LOOPBACK, port, now)
        self.inside.owner = mirror
        self.outside: dict[int, socket.socket] = {}
        self._make: Callable[[int], socket.socket] = mirror._own
        self._port = port

    def move(self, now: int) -> bool:
        moved = False
        while (received := self.inside.receive()) is not None:
            number = received.source_port
            if number not in self.outside:
                self.outside[number] = self._make(socket.SOCK_DGRAM)
                kernel_bind(self.outside[number], (format_ip4(received.source), number))
            self.outside[number].sendto(received.data, ("127.0.0.1", self._port))
            moved = True
        for number, outside in self.outside.items():
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                data, _ = outside.recvfrom(CHUNK)
                self.inside.send_to(data, LOOPBACK, number, now)
                moved = True
        return moved

    def close(self) -> None:
        for each in self.outside.values():
            each.close()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _gone(reference: weakref.ref[socket.socket]) -> bool:
    found = reference()
    return found is None or found.fileno() < 0
