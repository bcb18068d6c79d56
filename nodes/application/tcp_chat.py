"""chat: two programs that talk in lines of text over TCP, small enough to watch every segment.

    chat (listens on `port`)   ◀──── connect ────   chat (`to`), or nc, or telnet
         says its lines        ◀────  lines  ────▶  says its lines

Without `to` it waits for peers, and says its lines to each; with `to` it calls one. Every line that is heard is a
report. With `close` it closes when it has said its lines; both sides may, at once or in turn, and the ways of a
connection to end can be seen one by one. Otherwise it closes after the peer.

A line ends with LF; CR before it is dropped. What is no UTF-8 is shown with escapes.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.application.base import Node, nanoseconds, option
from nodes.application.destination import parse_destination
from nodes.application.sessions import Session, Sessions, endpoint, reason_of
from nodes.errors import StackError
from nodes.transport.tcp.socket import TcpSocket

LINE_LIMIT = 4096
"""Octets of a line; a longer one is reported in pieces."""

PIECE = 16_384
BACKLOG = 16


@dataclass(frozen=True, slots=True)
class ChatOptions:
    port: int = option("port to listen on, or to call", 5000, minimum=1, maximum=65535)
    to: str = option("node or address to call, with :PORT or not; empty to listen", "")
    address: str = option("address to listen on; empty for all", "")
    say: str = option("lines to say", "")
    interval: float = option("seconds before each line", 0.0, minimum=0, maximum=3600, unit="s")
    close: bool = option("close after the last line, and not after the peer", False)
    connections: int = option("connections after which it ends; 0 goes on", 0, minimum=0)


class ChatSession(Session):
    """One conversation. `next` is when the next line is said, None after the last."""

    __slots__ = ("chat", "heard", "held", "lines", "next", "partial", "reason", "said", "shut")

    def __init__(self, chat: Chat, socket: TcpSocket, now: int) -> None:
        super().__init__(chat, socket)
        self.chat = chat
        self.lines = list(reversed(chat.lines))
        self.next = now + chat.pause
        self.held = b""
        self.partial = b""
        self.heard = self.said = 0
        self.shut = False
        self.reason = "open"

    def work(self, now: int) -> int:
        """Hear a piece, say what is due."""
        data = self.socket.receive(PIECE)
        if data:
            self._hear(data)
            self.again()
        elif data is not None:
            self._end(now)
            return 0
        if self.socket.connected:
            self._speak(now)
        return len(data or b"")

    def failed(self, error: StackError, now: int) -> None:
        self.reason = reason_of(error)
        self.chat.failures += 1
        self.chat.report("error", remote=endpoint(self.socket.remote), error=error.message)
        self.chat.finish(self, now)

    def _speak(self, now: int) -> None:
        while not self.shut:
            if self.held:
                self.held = self.held[self.socket.send(self.held, now) :]
                if self.held:
                    return  # the bell rings when there is room
            elif not self.lines:
                self._shut(now)
                return
            elif self.next > now:
                self.again_at(self.next)
                return
            else:
                self.held = self.lines.pop().encode() + b"\n"
                self.said += 1
                self.next = now + self.chat.pause

    def _shut(self, now: int) -> None:
        if self.chat.options.close:
            self.shut = True
            self.socket.shutdown(now)

    def _hear(self, data: bytes) -> None:
        *lines, rest = (self.partial + data).split(b"\n")
        while len(rest) >= LINE_LIMIT:
            lines.append(rest[:LINE_LIMIT])
            rest = rest[LINE_LIMIT:]
        self.partial = rest
        for line in lines:
            self._report(line)

    def _report(self, line: bytes) -> None:
        self.heard += 1
        text = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
        self.chat.report("line", remote=endpoint(self.socket.remote), text=text)

    def _end(self, now: int) -> None:
        """The peer has closed."""
        if self.partial:
            self._report(self.partial)
            self.partial = b""
        self.reason = "completed"
        self.chat.finish(self, now)

    def describe(self) -> dict[str, object]:
        return {
            "remote": endpoint(self.socket.remote),
            "said": self.said,
            "heard": self.heard,
            "reason": self.reason,
        }


class Chat(Sessions):
    """See the module."""

    kind = "chat"

    def __init__(self, node: Node, options: ChatOptions) -> None:
        self._destination = parse_destination(node, options.to, options.port) if options.to else None
        super().__init__(node, limit=1 if options.to else options.connections)
        self.options = options
        self.lines = options.say.splitlines()
        self.pause = nanoseconds(options.interval)
        self.failures = 0
        self._socket = node.tcp.open()

    def start(self, now: int) -> None:
        self._socket.set_option("nodelay", True, now)
        if self._destination is None:
            self.listen(self._socket, self.options.address, self.options.port, BACKLOG, now)
        else:
            self.accepted = 1
            self.add(ChatSession(self, self._socket, now))
            self._socket.connect(*self._destination, now)

    def opened(self, socket: TcpSocket, now: int) -> Session:
        return ChatSession(self, socket, now)

    def result(self) -> dict[str, object]:
        return {
            "accepted": self.accepted,
            "open": len(self.sessions),
            "failed": self.failures,
            "reports_dropped": self.report.dropped,
            "connections": self.describe_sessions(),
        }
