"""Names to addresses and back, as the C library does it with a table of hosts."""

import socket
from socket import AF_INET, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM

import pytest

from nodes.session import names, services
from nodes.session.names import EAI_ADDRFAMILY, getaddrinfo, getnameinfo, resolve_endpoint
from nodes.wire.addresses import ANY, LIMITED_BROADCAST, parse_ip4
from tests.unit.session_pair import Pair

A = Pair().a
STREAM = {"type": SOCK_STREAM}


def address(host, **options):
    (entry,) = getaddrinfo(A, host, 80, **STREAM, **options)
    return entry[4][0]


def error(call, *arguments, **options):
    with pytest.raises(socket.gaierror) as caught:
        call(A, *arguments, **options)
    return caught.value


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("b", "10.0.0.2"),
        ("B", "10.0.0.2"),
        ("web", "10.0.0.2"),
        ("WEB", "10.0.0.2"),
        ("b.", "10.0.0.2"),
        (b"b", "10.0.0.2"),
        ("a", "10.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("LocalHost", "127.0.0.1"),
        ("x.localhost", "127.0.0.1"),
        ("192.168.1.5", "192.168.1.5"),
        ("127.1", "127.0.0.1"),
        ("10.1.515", "10.1.2.3"),
        ("0x7f000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("4294967295", "255.255.255.255"),
        (None, "127.0.0.1"),
    ],
)
def test_hosts(host, expected):
    assert address(host) == expected


@pytest.mark.parametrize(
    "text", ["10.0.0.256", "1.2.3.4.5", "1.2.3.", "0x", "08", "10.0.0.1 x", "4294967296", "1_0", "+1", "1" * 5000]
)
def test_what_is_no_number_is_a_name(text):
    assert names.numeric(text) is None
    assert error(getaddrinfo, text, 80, **STREAM).errno == socket.EAI_NONAME


@pytest.mark.parametrize("text", ["127.0.0.1", "127.1", "10.1.515", "0x7f.1", "010.1.1.1", "1", "1.2", "0xffffffff"])
def test_numbers_are_read_as_the_c_library_does(text):
    assert names.numeric(text) == int.from_bytes(socket.inet_aton(text), "big")


def test_passive():
    assert address(None, flags=socket.AI_PASSIVE) == "0.0.0.0"
    assert address("b", flags=socket.AI_PASSIVE) == "10.0.0.2"


def test_the_own_name_without_an_entry_in_the_table():
    pair = Pair()
    pair.a.name = "Me"
    (entry,) = getaddrinfo(pair.a, "ME", 80, **STREAM)
    assert entry[4] == ("10.0.0.1", 80)
    pair.stacks[0].remove_address(0, pair.stacks[0].interfaces[0].addresses[0], 0)
    assert names.own_address(pair.a) == parse_ip4("127.0.0.1")


def test_entries_by_transport():
    tcp = (AF_INET, SOCK_STREAM, IPPROTO_TCP, "", ("10.0.0.2", 80))
    udp = (AF_INET, SOCK_DGRAM, IPPROTO_UDP, "", ("10.0.0.2", 80))
    assert getaddrinfo(A, "b", 80) == [tcp, udp]
    assert getaddrinfo(A, "b", 80, type=SOCK_DGRAM) == [udp]
    assert getaddrinfo(A, "b", 80, proto=IPPROTO_TCP, family=AF_INET) == [tcp]
    assert type(getaddrinfo(A, "b", 80)[0][0]) is socket.AddressFamily
    assert type(getaddrinfo(A, "b", 80)[0][1]) is socket.SocketKind


def test_the_canonical_name_is_in_the_first_entry():
    found = getaddrinfo(A, "b", 80, flags=socket.AI_CANONNAME)
    assert [entry[3] for entry in found] == ["b", ""]


@pytest.mark.parametrize(
    ("port", "expected"),
    [(None, 0), ("", 0), (0, 0), (65535, 65535), ("8080", 8080), (b"22", 22), ("http", 80), ("www", 80), (b"ssh", 22)],
)
def test_ports(port, expected):
    (entry,) = getaddrinfo(A, "b", port, **STREAM)
    assert entry[4][1] == expected


def test_a_service_is_known_in_some_transports():
    assert [entry[1] for entry in getaddrinfo(A, "b", "domain")] == [SOCK_STREAM, SOCK_DGRAM]
    assert [entry[1] for entry in getaddrinfo(A, "b", "ssh")] == [SOCK_STREAM]
    assert [entry[1] for entry in getaddrinfo(A, "b", "ntp")] == [SOCK_DGRAM]


@pytest.mark.parametrize(
    ("arguments", "options", "number"),
    [
        (("nobody", 80), {}, socket.EAI_NONAME),
        ((None, None), {}, socket.EAI_NONAME),
        (("", 80), {}, socket.EAI_NONAME),
        (("", 80), {"flags": socket.AI_PASSIVE}, socket.EAI_NONAME),
        (("b\0", 80), {}, socket.EAI_NONAME),
        ((b"\xff", 80), {}, socket.EAI_NONAME),
        (("b", 80), {"flags": socket.AI_NUMERICHOST}, socket.EAI_NONAME),
        (("b", "http"), {"flags": socket.AI_NUMERICSERV}, socket.EAI_NONAME),
        (("::1", 80), {}, EAI_ADDRFAMILY),
        (("::1", 80), {"flags": socket.AI_NUMERICHOST}, EAI_ADDRFAMILY),
        (("b", 80), {"family": socket.AF_INET6}, EAI_ADDRFAMILY),
        (("b", 80), {"family": 99}, socket.EAI_FAMILY),
        (("b", 80), {"type": SOCK_RAW}, socket.EAI_SOCKTYPE),
        (("b", 80), {"type": SOCK_STREAM, "proto": IPPROTO_UDP}, socket.EAI_SOCKTYPE),
        (("b", 80), {"proto": 99}, socket.EAI_SERVICE),
        (("b", "nosuch"), {}, socket.EAI_SERVICE),
        (("b", "ssh"), {"type": SOCK_DGRAM}, socket.EAI_SERVICE),
        (("b", 65536), {}, socket.EAI_SERVICE),
        (("b", -1), {}, socket.EAI_SERVICE),
        ((None, 80), {"flags": socket.AI_CANONNAME}, socket.EAI_BADFLAGS),
    ],
)
def test_what_cannot_be_resolved(arguments, options, number):
    assert error(getaddrinfo, *arguments, **options).errno == number


@pytest.mark.skipif(not hasattr(socket, "EAI_ADDRFAMILY"), reason="the words of glibc")
def test_errors_are_in_the_words_of_the_c_library():
    unknown = error(getaddrinfo, "webb", 80)
    assert str(unknown) == "[Errno -2] Name or service not known"
    assert unknown.__notes__ == ["hint: did you mean 'Web'?"]
    for call in (lambda: socket.getaddrinfo("127.0.0.1", "nosuch"), lambda: socket.getaddrinfo("127.0.0.1", 1, 99)):
        with pytest.raises(socket.gaierror) as kernel:
            call()
        assert kernel.value.strerror == names._TEXTS[kernel.value.errno]


def test_wrong_types():
    with pytest.raises(TypeError):
        getaddrinfo(A, 5, 80)
    with pytest.raises(OSError, match="Int or String expected"):
        getaddrinfo(A, "b", 1.5)
    with pytest.raises(UnicodeError):
        getaddrinfo(A, "ü" * 100, 80)


def test_names_beyond_ascii_are_idna():
    pair = Pair()
    pair.stacks[0].hosts = {"xn--bcher-kva": parse_ip4("10.0.0.9")}
    (entry,) = getaddrinfo(pair.a, "bücher", 80, **STREAM)
    assert entry[4][0] == "10.0.0.9"


@pytest.mark.parametrize(
    ("sockaddr", "flags", "expected"),
    [
        (("10.0.0.2", 80), 0, ("b", "http")),
        (("10.0.0.2", 80), socket.NI_NUMERICHOST, ("10.0.0.2", "http")),
        (("10.0.0.2", 80), socket.NI_NUMERICSERV, ("b", "80")),
        (("10.0.0.2", 22), socket.NI_DGRAM, ("b", "22")),
        (("10.0.0.2", 123), socket.NI_DGRAM, ("b", "ntp")),
        (("10.0.0.77", 7777), 0, ("10.0.0.77", "7777")),
        (("127.0.0.1", 1), 0, ("localhost", "1")),
    ],
)
def test_nameinfo(sockaddr, flags, expected):
    assert getnameinfo(A, sockaddr, flags) == expected


def test_nameinfo_of_an_own_address_that_is_in_no_table():
    pair = Pair()
    pair.stacks[0].hosts = {}
    assert getnameinfo(pair.a, ("10.0.0.1", 1)) == ("a", "1")


def test_nameinfo_errors():
    assert error(getnameinfo, ("10.0.0.77", 1), socket.NI_NAMEREQD).errno == socket.EAI_NONAME
    assert error(getnameinfo, ("b", 1)).errno == socket.EAI_NONAME
    assert error(getnameinfo, ("::1", 1)).errno == EAI_ADDRFAMILY
    with pytest.raises(TypeError):
        getnameinfo(A, ("10.0.0.1", 1, 0, 0))
    with pytest.raises(OverflowError):
        getnameinfo(A, ("10.0.0.1", 65536))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("b", 80), (parse_ip4("10.0.0.2"), 80)),
        ((b"b", 80), (parse_ip4("10.0.0.2"), 80)),
        ((bytearray(b"b"), 80), (parse_ip4("10.0.0.2"), 80)),
        (("", 80), (ANY, 80)),
        (("0.0.0.0", 0), (ANY, 0)),
        (("<broadcast>", 9), (LIMITED_BROADCAST, 9)),
    ],
)
def test_endpoints(given, expected):
    assert resolve_endpoint(A, given) == expected


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("b", TypeError),
        (("b",), TypeError),
        (("::1", 80, 0, 0), TypeError),
        ((None, 80), TypeError),
        (("b", "80"), TypeError),
        (("b", 65536), OverflowError),
        (("b", -1), OverflowError),
        (("nobody", 80), socket.gaierror),
    ],
)
def test_what_is_no_endpoint(given, kind):
    with pytest.raises(kind):
        resolve_endpoint(A, given)


def test_services_agree_with_each_other():
    assert services.port_of("mail", "tcp") == 25
    assert services.service_of(53, "udp") == "domain"
    for protocol, table in (("tcp", services.TCP_PORTS), ("udp", services.UDP_PORTS)):
        assert len(set(table.values())) == len(table)
        assert all(services.service_of(port, protocol) == name for name, port in table.items())
    assert set(services.ALIASES.values()) <= set(services.TCP_PORTS)
