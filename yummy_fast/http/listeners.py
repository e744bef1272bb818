"""Listening sockets and the TLS context, as the configuration describes them.

`open_sockets` uses the first of these three that is configured: the sockets that systemd passed to this process
(LISTEN_FDS, see sd_listen_fds(3)), a Unix socket (--uds), or TCP sockets on every address of --host. It needs no event
loop, so the supervisor can call it and its workers can inherit the sockets.

Connections are accepted elsewhere (see `accept`), and nothing here depends on HTTP.
"""

from __future__ import annotations

import array
import contextlib
import errno
import logging
import os
import socket
import ssl
import stat
import struct
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any

from yummy_fast.config.settings import Address, Tls
from yummy_fast.errors import ConfigError

logger = logging.getLogger("yummy_fast")

BACKLOG = 2048
"""How many connections may wait to be accepted. Linux lowers it to net.core.somaxconn. The same as uvicorn's."""

_SO_ATTACH_FILTER = 26  # from asm-generic/socket.h: Python's socket module does not have it

FIRST_INHERITED = 3
"""The first descriptor that systemd passes to a process: SD_LISTEN_FDS_START."""

SAME_PORT_ATTEMPTS = 10
"""How many times --port 0 looks for a port that is free on all addresses of --host."""

# ------------------------------------------------------------------------------------------------------------- sockets


def open_sockets(listen_at: Address, environ: MutableMapping[str, str] | None = None) -> list[socket.socket]:
    """The sockets that the configuration describes, listening; at least one. Raises ConfigError, after closing
    the sockets that it has opened.

    The caller closes them with `close_sockets`. `environ` defaults to os.environ. systemd's variables are removed from
    it, or child processes would take the sockets for theirs.
    """
    sockets = _inherited(os.environ if environ is None else environ)
    if sockets:
        return sockets
    if listen_at.uds:
        return [_unix(os.path.abspath(listen_at.uds), int(listen_at.uds_mode, 8))]
    return _tcp(listen_at.host, listen_at.port)


def refuse_new(sockets: Sequence[socket.socket]) -> None:
    """Let no new connection into the queues of `sockets`, in any process that shares them.

    Connections that are in a queue already can still be accepted. A server that stops calls this, then accepts until
    the queues are empty, then closes. Without this, a connection that arrives between the last accept and the close
    would be reset. The file of a Unix socket is removed; for TCP, Linux drops the segments that open a connection.
    The sockets of systemd are left as they are: the server that is started next will accept from their queues.
    """
    for listening in sockets:
        if isinstance(listening, _UnixSocket):
            listening.remove_file()
        elif isinstance(listening, _TcpSocket):
            listening.drop_syn()


def close_sockets(sockets: Sequence[socket.socket]) -> None:
    """Close the sockets of `open_sockets`, and remove the files of the Unix sockets that were made there."""
    for listening in sockets:
        if isinstance(listening, _UnixSocket):
            listening.remove_file()
        listening.close()


def url_of(listening: socket.socket, tls: Tls) -> str:
    """The address for clients, such as http://127.0.0.1:6566 or unix:/run/yummy-fast.sock."""
    address = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return f"unix:{address if isinstance(address, str) else address.decode('utf-8', 'replace')}"
    host = f"[{address[0]}]" if listening.family == socket.AF_INET6 else address[0]
    return f"http{'s' if tls.cert else ''}://{host}:{address[1]}"


def _inherited(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd passed to this process; LISTEN_PID says whether they are for it or for a parent."""
    pid, count = environ.get("LISTEN_PID"), environ.get("LISTEN_FDS")
    if pid != str(os.getpid()) or not count:
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    if not count.isdecimal():
        raise ConfigError(f"LISTEN_FDS: expected a number of sockets, got {count!r}")
    sockets = []
    for descriptor in range(FIRST_INHERITED, FIRST_INHERITED + int(count)):
        try:
            inherited = socket.socket(fileno=descriptor)
            listens = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise ConfigError(f"LISTEN_FDS: descriptor {descriptor}: {error.strerror}") from None
        if not listens or inherited.type != socket.SOCK_STREAM:
            raise ConfigError(f"LISTEN_FDS: descriptor {descriptor}: expected a listening stream socket")
        inherited.set_inheritable(False)
        sockets.append(inherited)
    return sockets


def _tcp(host: str, port: int) -> list[socket.socket]:
    where = f"--host {host} --port {port}: cannot listen"
    try:
        # An empty host means every address of the machine, as in asyncio.
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"{where}: {getattr(error, 'strerror', None) or 'not a host name'}") from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for attempt in range(SAME_PORT_ATTEMPTS):
        try:
            return _tcp_on(addresses, port)
        except OSError as error:
            # With --port 0, the free port that was found on the first address can be in use on another one.
            if port or len(addresses) == 1 or error.errno != errno.EADDRINUSE or attempt == SAME_PORT_ATTEMPTS - 1:
                raise ConfigError(f"{where}: {error.strerror}") from None
    raise AssertionError  # the last attempt raises


def _tcp_on(addresses: Sequence[tuple[int, Any]], port: int) -> list[socket.socket]:
    """Listening sockets on `addresses`, each a family and an address from getaddrinfo().

    If `port` is 0, they use the same free port.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            listening: socket.socket | None = None
            try:
                listening = _TcpSocket(family, socket.SOCK_STREAM)
                sockets.append(listening)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:  # otherwise :: would occupy the port on 0.0.0.0 as well
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind((address[0], port, *address[2:]))
                listening.listen(BACKLOG)  # SO_REUSEADDR lets two sockets bind a port; only one can listen
                port = listening.getsockname()[1]
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                # The host name resolves to an address that this machine lacks, such as ::1 where IPv6 is off.
                missing = error
                if listening is not None:
                    sockets.remove(listening)
                    listening.close()
        if not sockets and missing is not None:
            raise missing
    except OSError:
        close_sockets(sockets)
        raise
    return sockets


class _TcpSocket(socket.socket):
    """A TCP socket that was made here. The class distinguishes it from a socket of systemd, a plain `socket.socket`."""

    def drop_syn(self) -> None:
        """Drop segments that open a connection (SYN without ACK).

        The client's kernel sends the SYN again after a second. By then the socket is closed, and the client is refused.
        Segments with ACK pass, so handshakes that have begun are completed. Only Linux can do this.
        """
        if sys.platform != "linux":
            return
        # A classic BPF program, which the kernel runs for each segment: see socket(7), SO_ATTACH_FILTER. Each line is
        # an opcode, how far to jump if true, how far if false, and an operand. Offset 0 is the TCP header's first byte.
        program = (
            (0x30, 0, 0, 13),  # accumulator = byte 13, the flags
            (0x54, 0, 0, 0x12),  # accumulator &= SYN | ACK
            (0x15, 0, 1, 0x02),  # if it is not SYN alone, skip one line
            (0x06, 0, 0, 0),  # return 0: drop the segment
            (0x06, 0, 0, 0xFFFFFFFF),  # return all bytes: pass the segment
        )
        instructions = array.array("B", b"".join(struct.pack("HBBI", *each) for each in program))
        with contextlib.suppress(OSError):
            described = struct.pack("HP", len(program), instructions.buffer_info()[0])
            self.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


class _UnixSocket(socket.socket):
    """A Unix socket that was made here, with its file. Another file at the same path is not removed."""

    file: tuple[str, int, int] | None = None
    """Path, device and inode. A successor that listens at the same path has another inode."""

    def remove_file(self) -> None:
        if self.file is None:
            return
        path, *identity = self.file
        self.file = None
        with contextlib.suppress(OSError):
            found = os.stat(path, follow_symlinks=False)
            if [found.st_dev, found.st_ino] == identity:
                os.unlink(path)


def _unix(path: str, mode: int) -> socket.socket:
    where = f"--uds {path}: cannot listen"
    listening = _UnixSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path, where)
        umask = os.umask(0o777)  # no client can connect before the file has its mode
        try:
            listening.bind(path)
        finally:
            os.umask(umask)
        found = os.stat(path, follow_symlinks=False)
        listening.file = (path, found.st_dev, found.st_ino)
        listening.listen(BACKLOG)
        os.chmod(path, mode)
    except OSError as error:
        close_sockets([listening])
        raise ConfigError(f"{where}: {error.strerror or error}") from None  # no strerror for over 107 bytes
    except ConfigError:
        listening.close()
        raise
    return listening


def _remove_stale(path: str, where: str) -> None:
    """Remove the file of a socket on which no process listens, left by a server that was killed.

    Raises ConfigError if there is any other file, or a process listens.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{where}: the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # a process listens, and its queue is full
    raise ConfigError(f"{where}: another process listens there")


# ----------------------------------------------------------------------------------------------------------------- TLS


def tls_context(tls: Tls) -> ssl.SSLContext | None:
    """A context with the configured files as they are now; None if TLS is not configured. Raises ConfigError."""
    if not tls.cert:
        return None
    for flag, path in (("--cert", tls.cert), ("--key", tls.key), ("--client-ca", tls.client_ca)):
        if os.path.exists(path) and not os.path.isfile(path):  # OpenSSL would wait for a pipe
            raise ConfigError(f"{flag} {path}: expected a regular file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--cert {tls.cert} --key {tls.key}: {_reason(error)}") from None
    if tls.client_ca:
        try:
            context.load_verify_locations(tls.client_ca)
        except (OSError, ValueError) as error:
            raise ConfigError(f"--client-ca {tls.client_ca}: {_reason(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    # Without a callback that raises, OpenSSL would ask for the password on the terminal, and wait.
    raise ValueError("the key is encrypted; expected one without a password")


_OPENSSL_REASONS = {
    None: "expected a certificate and its private key in PEM",  # only in str(error): "[SSL] PEM lib (_ssl.c:3900)"
    "KEY_VALUES_MISMATCH": "the private key does not belong to the certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "expected certificates in PEM",
}
"""SSLError.reason -> what to say to an operator. Other reasons are given in OpenSSL's words."""


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return _OPENSSL_REASONS.get(error.reason) or f"OpenSSL refuses it: {error.reason}"
    return getattr(error, "strerror", None) or str(error)
