"""Commands in a node on a real terminal: a pseudo-terminal, and a session whose leader is a shell of the host."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.system.labs import GONE_WITHIN, Labs, alive, wait_for

PATIENCE = 15.0
ROWS, COLUMNS = 37, 113
INTERRUPT, SUSPEND, END = "\x03", "\x1a", "\x04"


class Terminal:
    """The person's side: what is typed, and what the screen has shown."""

    def __init__(self, descriptor: int, pid: int) -> None:
        self.descriptor = descriptor
        self.pid = pid
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def expect(self, text: str) -> str:
        """Wait until the screen shows `text`; returns what came before it, and forgets both."""
        end = time.monotonic() + PATIENCE
        while text not in self.shown:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.shown!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                self.shown += os.read(self.descriptor, 65536).decode()
        before, _, self.shown = self.shown.partition(text)
        return before

    @property
    def foreground(self) -> int:
        return os.tcgetpgrp(self.descriptor)


@contextmanager
def _terminal(labs: Labs, command: list[str]) -> Iterator[Terminal]:
    """A command as the leader of a session with a terminal of its own."""
    pid, descriptor = os.forkpty()
    if not pid:
        try:
            account = labs.account
            if account.uid is not None:
                os.setgroups([])
                os.setresgid(account.uid, account.uid, account.uid)
                os.setresuid(account.uid, account.uid, account.uid)
            os.chdir(labs.folder)
            os.execvpe(command[0], command, labs.environment | {"PS1": "host> ", "ENV": "", "SHELL": "/bin/sh"})
        finally:
            os._exit(1)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    try:
        yield Terminal(descriptor, pid)
    finally:
        os.close(descriptor)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _lab(labs: Labs, *arguments: str) -> str:
    """A command line for a shell."""
    return " ".join([*labs.account.command, *arguments])


def test_exec_reads_from_the_terminal(any_labs: Labs) -> None:
    """An interactive shell in the node, with its window size; its exit code is ours."""
    name = any_labs.up()
    with _terminal(any_labs, [*any_labs.account.command, "exec", "--lab", name, "k", "--", "sh", "-i"]) as terminal:
        terminal.expect("host> ")
        terminal.type("stty size; hostname -I; echo do''ne\n")
        shown = terminal.expect("done\r\n")
        assert f"{ROWS} {COLUMNS}\r\n" in shown
        assert "10.0.0.3" in shown
        terminal.type("test -t 0 && test -t 1 && test -t 2 && exit 42\n")
        wait_for(lambda: not alive(terminal.pid), PATIENCE)
        result = os.waitid(os.P_PID, terminal.pid, os.WEXITED | os.WNOWAIT)
        assert result is not None
        assert (result.si_code, result.si_status) == (os.CLD_EXITED, 42)


def test_interrupt_goes_to_the_command(labs: Labs) -> None:
    """Ctrl-C ends what runs in the node's shell; the shell, `lab` and the shell of the host stay."""
    name = labs.up()
    with _terminal(labs, ["sh", "-i"]) as terminal:
        terminal.expect("host> ")
        terminal.type(_lab(labs, "exec", "--lab", name, "k", "--", "sh", "-i") + "\n")
        terminal.expect("host> ")
        terminal.type("ping 10.0.0.1\n")
        terminal.expect("64 bytes from 10.0.0.1")
        terminal.type(INTERRUPT)
        terminal.expect("packets transmitted")
        terminal.expect("host> ")
        terminal.type("echo still''here\n")
        terminal.expect("stillhere")
        terminal.type(END)
        terminal.expect("host> ")
        terminal.type("echo code $?\n")
        terminal.expect("code 0")


def test_interrupt_without_a_shell(labs: Labs) -> None:
    """A command that Ctrl-C ends gives 130; one that handles it decides itself."""
    name = labs.up()
    with _terminal(labs, ["sh", "-i"]) as terminal:
        terminal.expect("host> ")
        terminal.type(_lab(labs, "exec", "--lab", name, "k", "--", "sleep", "1000") + "\n")
        wait_for(lambda: bool(labs.processes("sleep")), PATIENCE)
        terminal.type(INTERRUPT)
        terminal.expect("host> ")
        terminal.type("echo code $?\n")
        terminal.expect("code 130")
        terminal.expect("host> ")
        assert not labs.processes("sleep")
        handler = "trap 'echo caught; exit 5' INT; echo waiting; while :; do sleep 0.1; done"
        terminal.type(_lab(labs, "exec", "--lab", name, "k", "--", "sh", "-c", f'"{handler}"') + "\n")
        terminal.expect("waiting\r\n")
        terminal.type(INTERRUPT)
        terminal.expect("caught")
        terminal.expect("host> ")
        terminal.type("echo code $?\n")
        terminal.expect("code 5")


def test_foreground_is_given_back(any_labs: Labs) -> None:
    """A shell with job control makes itself the terminal's foreground group; afterwards ours is that again."""
    name = any_labs.up()
    with _terminal(any_labs, ["sh", "-i"]) as terminal:
        terminal.expect("host> ")
        before = terminal.foreground
        for _ in range(2):
            terminal.type(_lab(any_labs, "exec", "--lab", name, "k", "--", "sh", "-im") + "\n")
            terminal.expect("host> ")
            terminal.type("exit 3\n")
            terminal.expect("host> ")
            terminal.type("echo code $?\n")
            terminal.expect("code 3")
            terminal.expect("host> ")
        assert terminal.foreground == before


def test_suspend_and_resume(labs: Labs) -> None:
    """Ctrl-Z stops the command and gives the prompt of the host's shell; `fg` goes on with it."""
    name = labs.up()
    with _terminal(labs, ["sh", "-im"]) as terminal:
        terminal.expect("host> ")
        terminal.type(_lab(labs, "exec", "--lab", name, "k", "--", "cat") + "\n")
        wait_for(lambda: bool(labs.processes("cat")), PATIENCE)
        terminal.type("one\n")
        terminal.expect("one\r\none\r\n")
        terminal.type(SUSPEND)
        terminal.expect("host> ")
        terminal.type("fg\n")
        terminal.expect("cat")
        terminal.type("two\n")
        terminal.expect("two\r\ntwo\r\n")
        terminal.type(END)
        terminal.expect("host> ")
        assert not labs.processes("cat")


def test_hangup(labs: Labs) -> None:
    """The terminal's window is closed: nothing goes on in the node."""
    name = labs.up()
    with _terminal(labs, ["sh", "-i"]) as terminal:
        terminal.expect("host> ")
        terminal.type(_lab(labs, "exec", "--lab", name, "k", "--", "sleep", "1000") + "\n")
        wait_for(lambda: bool(labs.processes("sleep")), PATIENCE)
    wait_for(lambda: not labs.processes("sleep"), GONE_WITHIN)
    assert labs.reaches(name, "a", "k")


def test_shell(any_labs: Labs) -> None:
    """`lab shell` is the person's own shell, in the node, where the lab's names resolve."""
    name = any_labs.up()
    with _terminal(any_labs, [*any_labs.account.command, "shell", "--lab", name, "k"]) as terminal:
        terminal.expect("host> ")
        terminal.type("getent hosts a; ls /sys/class/net; echo do''ne\n")
        shown = terminal.expect("done\r\n")
        assert "10.0.0.1" in shown
        assert "eth0" in shown
        terminal.type(END)
        wait_for(lambda: not alive(terminal.pid), PATIENCE)
