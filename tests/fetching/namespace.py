"""Plays all tricks in a network namespace of its own, and prints as JSON what arrived there.

unshare -rn python -m tests.fetching.namespace
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import json
import socket
import struct
from contextlib import suppress

from llava_gateway.fetching.addresses import NotFetched
from llava_gateway.fetching.fetcher import Fetcher
from tests.fetching.attack import NameServer, attackers_host
from tests.fetching.tricks import INSIDE, INSIDE_6, PORTS, SITE_IP, TRICKS

LOOPBACK = "lo"
_SIOCSIFADDR, _SIOCSIFFLAGS, _SIOCSIFNETMASK = 0x8916, 0x8914, 0x891C
_UP_AND_RUNNING = 0x41
_ETH_P_ALL = 3
_TCP = 6
_SYN = 0x02


def give_addresses() -> None:
    """Give the loopback device all addresses of the inside, and the attacker's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for number, ip in enumerate((*INSIDE, SITE_IP)):
            name = (LOOPBACK if number == 0 else f"{LOOPBACK}:{number}").encode()
            fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(ip)))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", LOOPBACK.encode(), _UP_AND_RUNNING))
    index = socket.if_nametoindex(LOOPBACK)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        for ip in INSIDE_6:
            with suppress(OSError):  # a kernel without IPv6
                fcntl.ioctl(control, _SIOCSIFADDR, socket.inet_pton(socket.AF_INET6, ip) + struct.pack("Ii", 128, index))


def first_packet_of_a_connection(frame: bytes) -> tuple[str, int] | None:
    """Return where a TCP connection is being opened to, if this frame does that."""
    packet = frame[14:]
    if packet[0] >> 4 == 4 and packet[9] == _TCP:
        to, segment = str(ipaddress.IPv4Address(packet[16:20])), packet[(packet[0] & 15) * 4 :]
    elif packet[0] >> 4 == 6 and packet[6] == _TCP:
        to, segment = str(ipaddress.IPv6Address(packet[24:40])), packet[40:]
    else:
        return None
    return (to, struct.unpack_from(">H", segment, 2)[0]) if segment[13] & 0x12 == _SYN else None


async def play() -> dict[str, object]:
    """Play every trick, then open a connection to the inside, which must be recorded."""
    connections: list[tuple[str, int]] = []
    site = 0

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal site
        ip, port = writer.get_extra_info("sockname")[:2]
        if ip == SITE_IP:
            site += 1
            await attackers_host(reader, writer)
        else:
            connections.append((ip, port))
            writer.close()

    packets: list[tuple[str, int]] = []
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    sniffer.setblocking(False)

    def collect() -> None:
        with suppress(BlockingIOError):
            while True:
                opened = first_packet_of_a_connection(sniffer.recv(65536))
                if opened and opened != (SITE_IP, 80):
                    packets.append(opened)

    asyncio.get_running_loop().add_reader(sniffer, collect)
    servers = [await asyncio.start_server(accepted, None, port) for port in PORTS]
    fetched = []
    for trick in TRICKS:
        with suppress(NotFetched):
            async with Fetcher(hosts=None, most_bytes=2**20, most_held=2**20, resolve=NameServer(trick).resolve).fetch(
                trick.address
            ) as data:
                if data:
                    fetched.append(str(trick))
    collect()
    before = [*packets]
    told = {"tricks": len(TRICKS), "fetched": fetched, "packets": before, "connections": [*connections], "site": site}
    for ip in ("169.254.169.254", "::1"):
        with suppress(OSError):
            _, writer = await asyncio.open_connection(ip, 80)
            writer.close()
    collect()
    for server in servers:
        server.close()
    return {**told, "control": len(packets) - len(before)}


if __name__ == "__main__":
    give_addresses()
    print(json.dumps(asyncio.run(play())))
