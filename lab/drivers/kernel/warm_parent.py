"""The warm parent: a process that has imported the stack once and forks an agent in a millisecond.

It is forked from the supervisor when the plan is known and nothing else is open, so that an agent inherits all
modules and its own configuration as shared pages: nothing is parsed or sent again. The supervisor asks over a
SOCK_SEQPACKET pair, one message per request, and hears of every end of an agent:

    supervisor -> warm parent     {"start": node} with two descriptors: network namespace, listening control socket
                                  {"kill": node}
                                  {"pause": node}, {"resume": node} with a descriptor, which is closed when it is done
    warm parent -> supervisor     {"ended": node, "status": exit code, or minus the signal}

It never waits for the supervisor to read, which may itself be waiting for this process to: what cannot be said at once
waits in a list. Only this process reaps agents, so that a pid it sends a signal to is never somebody else's.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import traceback
from collections import deque
from pathlib import Path
from typing import NoReturn

from lab.drivers.base import Epoch
from lab.host import syscalls
from lab.host.forked import run_and_exit
from lab.plan.values import Plan
from nodes.agent import Agent
from nodes.contract import NodeConfig
from nodes.io.extensions import load_congestion_controls
from nodes.io.recorder import Recording
from nodes.rehearsal import rehearse

MESSAGE_LIMIT = 65536

_SIGNALS = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP, "resume": signal.SIGCONT}


def fork_warm_parent(plan: Plan, run: Path, epoch: Epoch) -> tuple[socket.socket, int]:
    """Start the warm parent. Returns the supervisor's end of the pair and the pid."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        run_and_exit(lambda: _WarmParent(theirs, plan, run, epoch).serve(), keep=theirs.fileno())
    theirs.close()
    return ours, pid


class _WarmParent:
    def __init__(self, link: socket.socket, plan: Plan, run: Path, epoch: Epoch) -> None:
        self._link = link
        self._plan = plan
        self._config_of: dict[str, NodeConfig] = {}
        self._run = run
        self._epoch = epoch
        self._children: dict[int, str] = {}
        self._lives: dict[str, int] = {}  # that are over, by node
        self._unsaid: deque[dict[str, object]] = deque()
        self._wakeup_read, self._wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Until the supervisor closes the pair."""
        syscalls.set_name("lab:warm-parent")
        syscalls.set_title(f"layerlab {self._plan.lab}: warm parent")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        load_congestion_controls()
        rehearse()
        syscalls.drop_bounding_set()  # for all agents at once, which is forty calls
        self._config_of = self._plan.by_name  # made here, and not in every agent
        gc.collect()
        gc.freeze()  # the collector must not touch, and so copy, the pages that all agents share
        self._link.setblocking(False)
        poll = select.poll()
        poll.register(self._wakeup_read, select.POLLIN)
        while True:
            poll.register(self._link, select.POLLIN | (select.POLLOUT if self._unsaid else 0))
            ready = dict(poll.poll())
            if self._wakeup_read in ready:
                os.read(self._wakeup_read, 4096)
                self._reap()
            events = ready.get(self._link.fileno(), 0)
            if events & select.POLLOUT:
                self._say()
            if events & ~select.POLLOUT and not self._serve_all():
                return

    def _serve_all(self) -> bool:
        """Every request that waits; False when the supervisor has gone. Starts come last and in a row: after a fork,
        each page that this process writes to is copied, so between two forks it does as little as possible."""
        starts: list[tuple[str, int, int]] = []
        goes_on = True
        while goes_on:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._link, MESSAGE_LIMIT, 2)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                goes_on = False
                break
            request = json.loads(data)
            if "start" in request:
                namespace, listener = descriptors
                starts.append((request["start"], namespace, listener))
                continue
            ((order, node),) = request.items()
            self._signal(node, _SIGNALS[order])
            for descriptor in descriptors:
                os.close(descriptor)
        self._start(starts)
        return goes_on

    def _signal(self, node: str, number: signal.Signals) -> None:
        """A stopped agent stands still when this returns: it must not answer what is sent to it from now on."""
        for pid in [pid for pid, name in self._children.items() if name == node]:
            os.kill(pid, number)
            if number == signal.SIGSTOP:
                os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # `_reap` hears of an end, too

    def _start(self, starts: list[tuple[str, int, int]]) -> None:
        children, fork, close = self._children, os.fork, os.close
        for node, namespace, listener in starts:
            pid = fork()
            if not pid:
                self._become_agent(node, namespace, listener)
            children[pid] = node
            close(namespace)
            close(listener)

    def _become_agent(self, node: str, namespace: int, listener: int) -> NoReturn:
        status = 1
        recording = Recording(self._run / "nodes" / node, *self._epoch)
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            syscalls.close_all_but(namespace, listener)
            syscalls.set_name(f"lab:{node}")
            syscalls.set_title(f"layerlab {self._plan.lab}: {node}")
            syscalls.setns(namespace, syscalls.CLONE_NEWNET)
            os.close(namespace)
            config = self._config_of[node].at_start(self._lives.get(node, 0))
            agent = Agent(config, recording, socket.socket(fileno=listener))
            if config.stack == "layerlab":  # beside a kernel's stack, packet sockets are opened for each capture
                syscalls.drop_own_capabilities()
            agent.run()
            status = 0
        except BaseException:  # noqa: BLE001 - the last frame of a process
            (recording.folder / "error.txt").write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            node = self._children.pop(pid, None)
            if node is not None:
                self._lives[node] = self._lives.get(node, 0) + 1
                self._unsaid.append({"ended": node, "status": os.waitstatus_to_exitcode(status)})
        self._say()

    def _say(self) -> None:
        """As much as the supervisor takes. One that has gone ends us at the next read."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._unsaid:
                self._link.send(json.dumps(self._unsaid[0]).encode())
                self._unsaid.popleft()
