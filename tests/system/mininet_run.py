"""Runs a script that `lab export --mininet` wrote, with Mininet itself, and says what it made:

    unshare --net --mount --pid --fork --kill-child --mount-proc /usr/bin/python3 mininet_run.py SCRIPT NAME A-B ...

For the system's Python, which has Debian's package `mininet`, inside namespaces made for it, so that nothing of it is
left. Prints JSON: the addresses of each interface, the parameters of each link's ends, the answer of each ping. The
names of what is pinged are nodes or addresses.

Mininet's own clean-up is never used: it ends processes that are not its own. Nor may Mininet raise parameters of the
whole machine.
"""

import importlib.util
import json
import sys
import time
from types import ModuleType

from mininet.link import TCLink
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge

CARRIED_WITHIN = 10.0  # seconds until bridges pass frames


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ping(net: Mininet, pair: str) -> str:
    source, _, target = pair.partition("-")
    address = target if target[0].isdigit() else net[target].IP()
    end = time.monotonic() + CARRIED_WITHIN
    while True:
        answer = net[source].cmd("ping", "-n", "-c", "1", "-W", "1", address)
        if "1 received" in answer or time.monotonic() > end:
            return str(answer)


def main(path: str, name: str, pairs: list[str]) -> None:
    Mininet.inited = True  # instead of Mininet.init(), which sets kernel parameters
    net = Mininet(topo=load(path).topos[name](), link=TCLink, switch=LinuxBridge, controller=None)
    net.start()
    try:
        interfaces = {
            f"{node}:{intf}": {
                "mac": intf.MAC(),
                "address": node.cmd(f"ip -4 -o address show dev {intf}").split()[3:4],
                "parameters": {key: value for key, value in intf.params.items() if key in ("bw", "delay", "loss")},
            }
            for node in net.hosts
            for intf in node.intfList()
            if str(intf) != "lo"
        }
        pings = {pair: ping(net, pair) for pair in pairs}
    finally:
        net.stop()
    print(json.dumps({"interfaces": interfaces, "pings": pings, "switches": [str(each) for each in net.switches]}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
