"""How connections are set up, and what the kernel knows about them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import socket
import struct
import sys
import termios
from contextlib import suppress
from pathlib import Path

from aiohappyeyeballs import AddrInfoType

UNCONFIRMED_SECONDS = 30
"""How long sent data may stay unconfirmed by the other end, be it that it has gone or takes no more.

This ends the wait for the answer to an upload that never got there. A provider that has everything may take longer.
"""

_CONFIRMED_AT = 120
"""Where `struct tcp_info` has `tcpi_bytes_acked`, 8 bytes (`include/uapi/linux/tcp.h`, Linux 4.2)."""


def make_room(count: int) -> None:
    """Let the process open so many more descriptors without a wait, as far as its limit goes. Blocks.

    Linux enlarges a process's table of descriptors when it is full: at 64, 128, 256 and so on. In a process that has
    threads, whoever opens the next one waits for that, about 10 ms, and with an event loop everyone on it. A table
    never shrinks, so it is enough to have had a high number once.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError), Path(os.devnull).open("rb") as lowest:  # if none is left, whoever needs one will be told
        os.close(fcntl.fcntl(lowest, fcntl.F_DUPFD_CLOEXEC, min(lowest.fileno() + count, limit - 1)))


def new_socket(address: AddrInfoType) -> socket.socket:
    """A socket for a connection to `address`: what is written is sent at once, and a dead connection breaks."""
    made = socket.socket(*address[:3])
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNCONFIRMED_SECONDS * 1000)
    return made


def confirmed_bytes(transport: asyncio.BaseTransport) -> int:
    """How many bytes the other end has confirmed on this connection; 0 where the system does not tell."""
    connected = transport.get_extra_info("socket")
    if sys.platform != "linux" or connected is None:
        return 0
    try:
        told = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _CONFIRMED_AT + 8)
    except OSError:  # it is closed by now
        return 0
    return int(struct.unpack_from("=Q", told, _CONFIRMED_AT)[0]) if len(told) >= _CONFIRMED_AT + 8 else 0


def unconfirmed_bytes(transport: asyncio.BaseTransport) -> int:
    """How many bytes the kernel still holds because the other end has not confirmed them.

    Raises:
        OSError: the connection is closed.
    """
    told = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", told)[0])


def is_encrypted(transport: asyncio.BaseTransport) -> bool:
    """Whether what is written is encrypted in this process."""
    return transport.get_extra_info("sslcontext") is not None


def is_bare(transport: asyncio.BaseTransport) -> bool:
    """Whether the kernel may write into this connection, too: Linux can, and nothing must be encrypted."""
    return sys.platform == "linux" and not is_encrypted(transport) and transport.get_extra_info("socket") is not None


def duplicate(transport: asyncio.BaseTransport) -> socket.socket:
    """Another handle of a connection's socket: event loops let nobody wait for the one that they use themselves.

    Raises:
        OSError: the connection is closed.
    """
    return socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
