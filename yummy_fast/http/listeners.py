"""Where clients connect: listening sockets from the configuration, and what TLS is spoken on them.

`open_sockets` is plain: it can be called before there is an event loop, and what it returns can be inherited by other
processes. Three kinds, of which the first that is there is taken: sockets that systemd handed over (LISTEN_FDS, see
sd_listen_fds(3)), a Unix socket (--uds), TCP on every address of --host.

It takes no connections (`accept` does), knows no HTTP, and not who answers.
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

from yummy_fast.config.feature_store_yaml import Config
from yummy_fast.errors import ConfigError

logger = logging.getLogger("yummy_fast")

BACKLOG = 2048
"""Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn. As uvicorn."""

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it

FIRST_INHERITED = 3
"""The number of the first descriptor that systemd hands over: SD_LISTEN_FDS_START."""

SAME_PORT_ATTEMPTS = 10
"""For a free port that is free on each of a host's addresses."""

# ------------------------------------------------------------------------------------------------------------- sockets


def open_sockets(config: Config, environ: MutableMapping[str, str] | None = None) -> list[socket.socket]:
    """Sockets that listen where the configuration says: one at least. Raises ConfigError, with nothing left open.

    Whoever calls this calls `close_sockets` at the end. `environ` defaults to the process's own; what systemd said in
    it is taken out, so that children do not take it for themselves.
    """
    sockets = _inherited(os.environ if environ is None else environ)
    if sockets:
        return sockets
    if config.uds:
        return [_unix(os.path.abspath(config.uds), int(config.uds_mode, 8))]
    return _tcp(config.host, config.port)


def refuse_new(sockets: Sequence[socket.socket]) -> None:
    """Let nobody new in, by whichever process; who is in the queue already can still be taken, to the last one.

    Closing resets whoever comes between the last look into the queue and the close. So a Unix socket loses its name
    first, and TCP what opens a connection. What systemd handed over is not touched: its queue is there for whoever
    comes next.
    """
    for listening in sockets:
        if isinstance(listening, _UnixSocket):
            listening.remove_file()
        elif isinstance(listening, _TcpSocket):
            listening.drop_syn()


def close_sockets(sockets: Sequence[socket.socket]) -> None:
    """Close sockets of `open_sockets`, and remove the files of those that are Unix sockets and were made there."""
    for listening in sockets:
        if isinstance(listening, _UnixSocket):
            listening.remove_file()
        listening.close()


def url_of(listening: socket.socket, config: Config) -> str:
    """Where clients find it, as in http://127.0.0.1:6566 or unix:/run/yummy-fast.sock."""
    address = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return f"unix:{address if isinstance(address, str) else address.decode('utf-8', 'replace')}"
    host = f"[{address[0]}]" if listening.family == socket.AF_INET6 else address[0]
    return f"http{'s' if config.tls_cert else ''}://{host}:{address[1]}"


def _inherited(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """What systemd handed to this very process."""
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
            raise ConfigError(f"LISTEN_FDS: descriptor {descriptor}: expected a stream socket that listens")
        inherited.set_inheritable(False)
        sockets.append(inherited)
    return sockets


def _tcp(host: str, port: int) -> list[socket.socket]:
    where = f"--host {host} --port {port}: cannot listen"
    try:
        # An empty host is every address of the machine, as for asyncio.
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"{where}: {getattr(error, 'strerror', None) or 'not a name of a host'}") from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for attempt in range(SAME_PORT_ATTEMPTS):
        try:
            return _tcp_on(addresses, port)
        except OSError as error:
            # A free port of the first address can be taken on another.
            if port or len(addresses) == 1 or error.errno != errno.EADDRINUSE or attempt == SAME_PORT_ATTEMPTS - 1:
                raise ConfigError(f"{where}: {error.strerror}") from None
    raise AssertionError  # the last attempt raises


def _tcp_on(addresses: Sequence[tuple[int, Any]], port: int) -> list[socket.socket]:
    """`addresses` are families and addresses as `getaddrinfo` has them. If `port` is 0, all get the same free one."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            listening: socket.socket | None = None
            try:
                listening = _TcpSocket(family, socket.SOCK_STREAM)
                sockets.append(listening)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:  # or :: would take the port on 0.0.0.0 as well
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind((address[0], port, *address[2:]))
                listening.listen(BACKLOG)  # two can bind a port, one can listen
                port = listening.getsockname()[1]
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                # The name has an address that this machine has not, such as ::1 where IPv6 is off.
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
    """A TCP socket of our own making: what systemd hands over is a plain one."""

    def drop_syn(self) -> None:
        """Drop what opens a connection (SYN without ACK): whoever sent it tries again in a second, and is refused."""
        if sys.platform != "linux":
            return
        # A program for the kernel: see socket(7), SO_ATTACH_FILTER. What it reads begins with the TCP header.
        program = (
            (0x30, 0, 0, 13),  # load the byte with the flags
            (0x54, 0, 0, 0x12),  # of it, keep SYN and ACK
            (0x15, 0, 1, 0x02),  # is it SYN alone?
            (0x06, 0, 0, 0),  # drop the segment
            (0x06, 0, 0, 0xFFFFFFFF),  # take it
        )
        instructions = array.array("B", b"".join(struct.pack("HBBI", *each) for each in program))
        with contextlib.suppress(OSError):
            described = struct.pack("HP", len(program), instructions.buffer_info()[0])
            self.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


class _UnixSocket(socket.socket):
    """A socket whose file is ours to remove, as long as nobody has put another in its place."""

    file: tuple[str, int, int] | None = None
    """Path, device and inode."""

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
        umask = os.umask(0o777)  # nobody gets in before the mode is what it shall be
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
        raise ConfigError(f"{where}: {error.strerror or error}") from None  # a path over 107 bytes has no strerror
    except ConfigError:
        listening.close()
        raise
    return listening


def _remove_stale(path: str, where: str) -> None:
    """Remove the socket that a server left behind which was killed. Raises ConfigError if there is anything else."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{where}: there is a file of that name, and it is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # somebody listens, and has a full queue
    raise ConfigError(f"{where}: another process listens there")


# ----------------------------------------------------------------------------------------------------------------- TLS


def tls_context(config: Config) -> ssl.SSLContext | None:
    """What the configuration says of TLS, with the files as they are now; None without. Raises ConfigError."""
    if not config.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--cert {config.tls_cert} --key {config.tls_key}: {_reason(error)}") from None
    if config.tls_client_ca:
        try:
            context.load_verify_locations(config.tls_client_ca)
        except (OSError, ValueError) as error:
            raise ConfigError(f"--client-ca {config.tls_client_ca}: {_reason(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    # Or OpenSSL asks the terminal, and waits.
    raise ValueError("the key is encrypted; a server needs one that is not")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        # strerror says where in OpenSSL's source: "[SSL] PEM lib (_ssl.c:3900)".
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        return "the key is not the certificate's" if mismatch else "not PEM of its kind"
    return getattr(error, "strerror", None) or str(error)
