"""What files with Mininet topologies import from `mininet`, for machines that have no Mininet.

Our own code, written from the documentation of Mininet's public interface; its names are Mininet's. A topology is only
described here: `Topo` keeps what `addHost`, `addSwitch` and `addLink` are told; classes of nodes and links can be named
and derived from. What would start a network raises `OnlyDescribedError` when it is called.
"""
