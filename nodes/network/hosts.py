"""The names of a lab's nodes: what /etc/hosts is to a kernel.

Every node knows every name, and most nodes ask for none. An address is therefore read from its text when it is asked
for, and the table of a thousand names that all nodes of a lab share costs each of them nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nodes.errors import MisuseError
from nodes.wire.addresses import Ip4, parse_ip4


class HostTable(Mapping[str, Ip4]):
    """`texts` maps names to addresses in dotted form. Reading an entry that is no address raises MisuseError."""

    __slots__ = ("_texts",)

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __getitem__(self, name: str) -> Ip4:
        try:
            return parse_ip4(self._texts[name])
        except ValueError as error:
            raise MisuseError(f"host {name!r}: {error}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)
