"""Mininet's side of the bring-up benchmark: N hosts with shells on one Linux bridge, no controller.

Run by the system's Python, which has Debian's package `mininet`, inside namespaces made for it:

    unshare --net --pid --fork --kill-child --mount-proc /usr/bin/python3 mininet_star.py N

Says `ready` when `net.start()` has returned; asked by a line, how many ports the bridge has; asked by another, takes
the network down with `net.stop()` and says what is left. Mininet's own clean-up (`mn -c`) is never used: it ends
processes that are not its own.

One thing is not left to Mininet: it would raise a dozen kernel parameters of the whole machine. Only its limit of open
files is raised here.
"""

import json
import os
import resource
import socket
import sys
import time
from pathlib import Path

from mininet.net import Mininet
from mininet.nodelib import LinuxBridge

GRACE = 1.0  # seconds from the end to the search for what is left


def say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def main(count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = {name for _, name in socket.if_nameindex()}
    Mininet.inited = True  # instead of Mininet.init(), which sets kernel parameters
    net = Mininet(switch=LinuxBridge, controller=None)
    switch = net.addSwitch("s1")
    for number in range(1, count + 1):
        net.addLink(net.addHost(f"h{number}"), switch)
    net.start()
    say(ready=True)
    sys.stdin.readline()
    ports = switch.cmd("ip -oneline link show master s1").count("master s1")
    say(ports=ports)
    sys.stdin.readline()
    net.stop()
    say(stopped=True)
    time.sleep(GRACE)
    after = {name for _, name in socket.if_nameindex()}
    others = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()]
    say(interfaces=sorted(after - before), processes=len(others))


if __name__ == "__main__":
    main(int(sys.argv[1]))
