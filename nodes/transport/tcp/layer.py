"""All TCP of a node: which connection a segment is for, and when each connection has its turn.

    receive ── four values known ──▶ connection (arrival)  ┐
            ── in TIME_WAIT ───────▶ record                │ mark
            ── port listened on ───▶ listener              ├──────▶ flush: output, once per connection
            ── nobody ─────────────▶ reset (3.10.7.1)      │
    timeout ── due ────────────────▶ connection (expiry)   ┘
    error   ── ICMP, quoted number in flight ──▶ connection

Connections that an input touched wait in a list until `flush`, which the stack calls when it is asked for its frames:
all segments of a wake-up are processed before any acknowledgment leaves (RFC 9293 MUST-59). Timers are in one lazy heap
(`timers.TimerQueue`): a segment costs the same whether the node has one connection or ten thousand.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable
from random import Random

from nodes.errors import LimitError, MisuseError, StackError, UnreachableError, WireError
from nodes.network.datagram import LOCAL_INTERFACE, Datagram, IcmpError
from nodes.network.ip import InternetLayer
from nodes.trace.events import Tracer
from nodes.trace.tcp_events import ConnectionStateUpdated
from nodes.transport.endpoint import Endpoint
from nodes.transport.ports import FIRST_DYNAMIC, LAST_PORT, PortSpace
from nodes.transport.tcp import arrival, expiry, icmp_reports, output, strays
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.cookies import SynCookies
from nodes.transport.tcp.counters import TcpCounters
from nodes.transport.tcp.info import describe_layer
from nodes.transport.tcp.isn import SequenceGenerator
from nodes.transport.tcp.listener import Listener
from nodes.transport.tcp.memory import MemoryBudget
from nodes.transport.tcp.sequence import wrap
from nodes.transport.tcp.services import Key
from nodes.transport.tcp.settings import SocketOptions, TcpSettings
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State, Trigger
from nodes.transport.tcp.time_wait import TimeWait
from nodes.transport.tcp.timers import TimerQueue
from nodes.transport.tcp.tracing import dropped, malformed, received, sent_bare
from nodes.units import MILLISECOND, SECOND
from nodes.wire import tcp
from nodes.wire.addresses import ANY, Ip4, format_endpoint
from nodes.wire.tcp import Segment

SECRET_OCTETS = 32
CONGESTION_EXPERIENCED = 3
"""The ECN bits of a packet that a router marked (RFC 3168 section 5)."""
ECT_0 = 2

ISN_GAP = 64_000
"""How far beyond the last number of a connection in TIME_WAIT its successor begins (RFC 1122 section 4.2.2.13)."""

_OVER = frozenset({State.CLOSED, State.TIME_WAIT})


class TcpLayer:
    """`settings` are those of the node. `sequences` and `cookies` may be replaced before the first connection, by tests
    that want to know the numbers."""

    def __init__(
        self,
        ip: InternetLayer,
        random: Random,
        tracer: Tracer,
        ready: Callable[[Endpoint], None],
        settings: TcpSettings,
    ) -> None:
        self.ip = ip
        self.random = random
        self.trace = tracer
        self.settings = settings
        self.counters = TcpCounters()
        self.ports = PortSpace(random)
        self.sequences = SequenceGenerator(random.randbytes(SECRET_OCTETS), hashed=settings.random_isn)
        self.cookies = SynCookies(random.randbytes(SECRET_OCTETS))
        self.now = 0
        """The time of the last input."""
        self._ready = ready
        self._connections: dict[tuple[int, int, int, int], Connection | TimeWait] = {}
        self._listeners: dict[int, list[Listener]] = {}
        self.memory = MemoryBudget(settings.memory)
        self._pending: list[Connection] = []
        self._timers: TimerQueue[Connection | TimeWait] = TimerQueue()
        self._time_waits: OrderedDict[Key, TimeWait] = OrderedDict()
        self._challenges = 0
        self._challenge_second = -1
        self._sockets = 0

    # ------------------------------------------------------------------------- arrivals: a transport handler's surface

    def receive(self, datagram: Datagram, now: int) -> bool:
        """Takes a segment. Always True: TCP answers for itself what is for nobody."""
        self.now = now
        self.counters.in_segments += 1
        header = datagram.header
        remote, local = header.source, header.destination
        try:
            segment = tcp.parse(datagram.payload, remote, local, verified=datagram.checksum_valid)
        except WireError as error:
            self._malformed(datagram, error, now)
            return True
        found = self._connections.get((local, segment.destination_port, remote, segment.source_port))
        if self.trace.packets:
            shift = 0 if segment.flags & tcp.SYN or not isinstance(found, Connection) else found.snd_shift
            self.trace(now, received(segment, remote, local, shift))
        if type(found) is Connection:
            arrival.receive(found, segment, header.traffic_class & 3 == CONGESTION_EXPERIENCED, now)
        else:
            key = Key(local, segment.destination_port, remote, segment.source_port)
            if isinstance(found, TimeWait) and not found.is_newer(segment):
                self._receive_time_wait(found, segment, now)
            elif strays.may_open(self, datagram, key, segment, now):
                self._open(found, segment, key, now)
        return True

    def is_in_flight(self, error: IcmpError) -> bool:
        """Whether an ICMP error quotes a segment that waits for its acknowledgment (RFC 5927 section 4.1)."""
        return icmp_reports.find(self, error) is not None

    def error(self, error: IcmpError, now: int) -> None:
        """An ICMP error about a segment of ours."""
        self.now = now
        self.counters.icmp_errors += 1
        if not icmp_reports.receive(self, error, now):
            self.counters.icmp_ignored += 1

    def _open(self, found: TimeWait | Connection | None, segment: Segment, key: Key, now: int) -> None:
        listener = self._listener(key.local, key.local_port)
        beyond = None
        if isinstance(found, TimeWait):
            if listener is None:
                self._receive_time_wait(found, segment, now)
                return
            beyond = found.snd_nxt
            self._end_time_wait(found, Trigger.REUSED, now)
            self.counters.time_waits_recycled += 1
        if listener is not None:
            listener.receive(segment, key, now, beyond=beyond)
        else:
            strays.refuse(self, segment, key, now)

    def _listener(self, local: Ip4, port: int) -> Listener | None:
        """Of the listeners on a port, one for exactly this address comes first."""
        found = None
        for listener in self._listeners.get(port, ()):
            if listener.address == local:
                return listener
            if listener.address == ANY:
                found = listener
        return found

    def _receive_time_wait(self, record: TimeWait, segment: Segment, now: int) -> None:
        outcome = record.receive(segment, now)
        if outcome is Trigger.RESET_RECEIVED:
            self._end_time_wait(record, Trigger.RESET_RECEIVED, now)
        elif outcome is Trigger.FIN_RECEIVED or (outcome and self.allow_challenge(now)):
            answer = record.acknowledgment(now // MILLISECOND)
            self.send_bare(record.key, answer, "ack", now, ttl=record.ttl, traffic_class=record.traffic_class)

    def _malformed(self, datagram: Datagram, error: WireError, now: int) -> None:
        reason = f"bad_{error.field.replace(' ', '_')}"
        self.counters.in_errors += 1
        self.counters.drops[reason] += 1
        self.trace(now, malformed(datagram, reason))

    # -------------------------------------------------------------------------------------------------------- the pump

    def flush(self, now: int) -> None:
        """Let everything leave that may. What marks itself again goes on in the next turn."""
        pending, self._pending = self._pending, []
        schedule, memory = self._timers.schedule, self.memory
        for connection in pending:
            if memory.exhausted and connection.state not in _OVER:
                self.counters.memory_pressure += 1
                memory.freeze(connection)
            if output.flush(connection, now):
                memory.account(connection)
                schedule(connection, connection.deadline())
        memory.thaw()

    def timeout(self, now: int) -> None:
        self.now = now
        for item in self._timers.due(now):
            if isinstance(item, TimeWait):
                if item.expires <= now:
                    self._end_time_wait(item, Trigger.TIME_WAIT_EXPIRED, now)
                else:
                    self._timers.schedule(item, item.expires)
            else:
                expiry.run(item, now)

    def deadline(self) -> int | None:
        """The time of the last input where output waits: at once."""
        return self.now if self._pending else self._timers.deadline()

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    # ------------------------------------------------------------------------------- what connections ask for (`Layer`)

    def mark(self, connection: Connection) -> None:
        self._pending.append(connection)

    def forget(self, connection: Connection, now: int) -> None:  # noqa: ARG002 (the surface that connections know)
        if self._connections.get(connection.key) is connection:
            del self._connections[connection.key]
        self._timers.cancel(connection)
        connection.timers.cancel_all()
        self.memory.release(connection)
        self.memory.thaw()

    def enter_time_wait(self, connection: Connection, now: int) -> None:
        """The connection gives way to a record; its acknowledgment of the peer's FIN leaves first."""
        if connection.acks.now_needed:
            output.send_ack(connection, now, "ack")
        record = TimeWait(connection, 2 * self.settings.msl, now)
        self.forget(connection, now)
        self._connections[connection.key] = record
        self._timers.schedule(record, record.expires)
        self._time_waits[record.key] = record
        self.counters.time_waits += 1
        while len(self._time_waits) > self.settings.time_wait_limit:
            self.counters.time_wait_overflows += 1
            self._end_time_wait(next(iter(self._time_waits.values())), Trigger.EVICTED, now)

    def _end_time_wait(self, record: TimeWait, trigger: Trigger, now: int) -> None:
        del self._connections[record.key]
        del self._time_waits[record.key]
        self._timers.cancel(record)
        local, remote = record.key.local_name, record.key.remote_name
        self.trace(now, ConnectionStateUpdated(local, remote, "time_wait", "closed", trigger.value))

    def allow_challenge(self, now: int) -> bool:
        """The bound of each second is drawn anew, so that counting our answers tells nothing about other connections
        (CVE-2016-5696)."""
        second = now // SECOND
        if second != self._challenge_second:
            self._challenge_second = second
            limit = self.settings.challenge_ack_limit
            self._challenges = limit - self.random.randrange(limit // 2 + 1)
        self._challenges -= 1
        return self._challenges >= 0

    def dropped(self, key: Key, segment: Segment, reason: str, now: int) -> None:
        self.counters.drops[reason] += 1
        self.trace(now, dropped(key, segment, reason))

    def link_mtu(self, destination: Ip4) -> int:
        try:
            index = self.ip.interface_for(destination)
        except UnreachableError:
            return self.ip.interfaces[0].mtu  # nothing leaves, but the number is asked for
        return 65_535 if index == LOCAL_INTERFACE else self.ip.interfaces[index].mtu

    def path_mtu(self, destination: Ip4, now: int) -> int:
        try:
            return self.ip.path_mtu(destination, now)
        except UnreachableError:
            return self.ip.interfaces[0].mtu  # the way may come back; until then nothing leaves

    def offload_for(self, destination: Ip4) -> bool:
        return self.ip.offload_for(destination)

    def transmit(self, connection: Connection, segment: bytes, now: int, *, ect: bool, segment_size: int) -> None:
        key, options = connection.key, connection.options
        try:
            self.ip.send(
                segment,
                key.remote,
                tcp.PROTOCOL,
                now,
                source=key.local,
                ttl=options.ttl,
                dont_fragment=not 0 < connection.path_mtu < 128 and not self.ip.path_mtus.is_locked(key.remote),
                traffic_class=options.traffic_class | ECT_0 if ect else options.traffic_class,
                segment_size=segment_size,
                partial_checksum=connection.offload and connection.recovery is not None,
            )
        except StackError as error:
            self.counters.out_errors += 1
            connection.soft_error = error

    def answer_reset(self, key: Key, sequence: int, now: int) -> None:
        """<SEQ=sequence><CTL=RST>."""
        self.send_reset(key, sequence, 0, tcp.RST, now)

    def send_reset(self, key: Key, sequence: int, acknowledgment: int, flags: int, now: int) -> None:
        self.counters.out_resets += 1
        segment = tcp.build(key.local, key.remote, key.local_port, key.remote_port, sequence, acknowledgment, flags, 0)
        self.send_bare(key, segment, "reset", now)

    def send_bare(
        self, key: Key, segment: bytes, trigger: str, now: int, *, ttl: int | None = None, traffic_class: int = 0
    ) -> None:
        """A segment that no connection stands behind. One that cannot leave is counted, nobody waits for it."""
        self.counters.out_segments += 1
        if self.trace.packets:
            self.trace(now, sent_bare(key, segment, trigger))
        try:
            self.ip.send(segment, key.remote, tcp.PROTOCOL, now, source=key.local, ttl=ttl, traffic_class=traffic_class)
        except StackError:
            self.counters.out_errors += 1

    # -------------------------------------------------------------------------------------------- what sockets ask for

    def open(self) -> TcpSocket:
        """A new socket. Raises LimitError with EMFILE when too many are open."""
        if self._sockets >= self.settings.maximum_connections:
            raise LimitError(f"{self._sockets} TCP sockets are open, the most allowed", errno=errno.EMFILE)
        self._sockets += 1
        return TcpSocket(self, self._ready, SocketOptions.of(self.settings))

    def closed(self) -> None:
        """A socket was closed; what it began may go on."""
        self._sockets -= 1

    def adopted(self) -> None:
        """A connection was accepted, and got a socket."""
        self._sockets += 1

    def has_room(self) -> bool:
        return len(self._connections) < self.settings.maximum_connections and not self.memory.exhausted

    def find(self, local: Ip4, local_port: int, remote: Ip4, remote_port: int) -> Connection | None:
        found = self._connections.get((local, local_port, remote, remote_port))
        return found if isinstance(found, Connection) else None

    def is_time_wait(self, key: Key) -> bool:
        return isinstance(self._connections.get(key), TimeWait)

    def next_iss(self, key: Key, beyond: int | None, now: int) -> int:
        """The initial send sequence number, after `beyond` where there was a connection before."""
        iss = self.sequences.initial(*key, now)
        if beyond is not None and not 0 < (iss - beyond) & 0xFFFF_FFFF < 1 << 31:
            iss = wrap(beyond + ISN_GAP)
        return iss

    def create(self, key: Key, options: SocketOptions, now: int, *, iss: int) -> Connection:
        """A connection that is known from now on."""
        self.now = now
        connection = Connection(self, key, options, iss, self.sequences.timestamp_offset(*key), now)
        self._connections[key] = connection
        return connection

    def connect(self, key: Key, options: SocketOptions, now: int) -> Connection:
        """Begins an active open. `key` may be one in TIME_WAIT: its numbers are continued. Raises MisuseError
        (EADDRINUSE) where the connection exists, LimitError where there are too many."""
        found = self._connections.get(key)
        if not self.has_room():
            raise LimitError(f"{len(self._connections)} connections in {self.memory.used} octets, the most allowed")
        beyond = None
        if isinstance(found, Connection):
            raise MisuseError(f"{key} is connected already", errno=errno.EADDRINUSE)
        if found is not None:
            beyond = found.snd_nxt
            self._end_time_wait(found, Trigger.REUSED, now)
            self.counters.time_waits_recycled += 1
        return self.create(key, options, now, iss=self.next_iss(key, beyond, now))

    def choose_port(self, local: Ip4, remote: Ip4, remote_port: int) -> int:
        """A dynamic port with which the four values are new (RFC 6056 section 3.3.1). A port that a connection to
        another peer has may serve again. Raises LimitError (EADDRNOTAVAIL) where all are in use."""
        count = LAST_PORT - FIRST_DYNAMIC + 1
        first = self.random.randrange(count)
        for step in range(count):
            port = FIRST_DYNAMIC + (first + step) % count
            if (local, port, remote, remote_port) not in self._connections and self.ports.is_free(local, port):
                return port
        raise LimitError(
            f"all {count} dynamic ports are in use towards {format_endpoint(remote, remote_port)}",
            errno=errno.EADDRNOTAVAIL,
            hint="connections in TIME_WAIT count; let the peer close first, or shorten the MSL",
        )

    def listen(self, socket: TcpSocket, address: Ip4, port: int, backlog: int) -> Listener:
        listener = Listener(self, socket, address, port, backlog, socket.options)
        self._listeners.setdefault(port, []).append(listener)
        return listener

    def unlisten(self, listener: Listener) -> None:
        listeners = self._listeners[listener.port]
        listeners.remove(listener)
        if not listeners:
            del self._listeners[listener.port]

    def sockets(self) -> list[TcpSocket]:
        """Those that listen, then those that have a connection, each in the order in which they came."""
        listening = [listener.owner for listeners in self._listeners.values() for listener in listeners]
        connected = [found.owner for found in self._connections.values() if isinstance(found, Connection)]
        return [owner for owner in (*listening, *connected) if isinstance(owner, TcpSocket)]

    def snapshot(self, now: int) -> dict[str, object]:
        """Counters, listeners and connections as values of JSON."""
        listeners = [listener for several in self._listeners.values() for listener in several]
        return describe_layer(self.counters, listeners, self._connections.values(), now)
