"""TLS on a real process: client certificates, files that are replaced, what cannot be used, and how connections end."""

from __future__ import annotations

import contextlib
import signal
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trustme

from tests.harness import (
    CERTIFICATE,
    CERTIFICATE_KEY,
    Answer,
    Client,
    Proxy,
    Server,
    Valkey,
    command_line,
    eventually,
    features_request,
    replace_file,
    repository,
    tls_client_context,
)
from yummy_fast.errors import ConfigError
from yummy_fast.http.listeners import tls_context
from yummy_fast.sources.yaml_text import load_config


class Pki:
    """An authority with the files that a server and a client of its kind need."""

    def __init__(self, folder: Path, name: str) -> None:
        self._authority = trustme.CA()
        self.folder = folder
        self.ca, self.cert, self.key = (folder / f"{name}.{part}" for part in ("ca", "crt", "key"))
        self._authority.cert_pem.write_to_path(self.ca)
        self.client_certificate = self._authority.issue_cert("model-7@example.org")
        self.renew()

    def renew(self) -> bytes:
        """Give the server another certificate; in DER."""
        certificate = self._authority.issue_cert("localhost", "127.0.0.1")
        replace_file(self.key, certificate.private_key_pem.bytes())
        replace_file(self.cert, b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--cert", str(self.cert), "--key", str(self.key))

    def context(self, client: Pki | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, and shows a certificate of `client`'s."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if client is not None:
            client.client_certificate.configure_cert(context)
        return context


@pytest.fixture
def ours(tmp_path: Path) -> Pki:
    return Pki(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Pki:
    return Pki(tmp_path, "theirs")


def ask(server: Server, context: ssl.SSLContext) -> Answer:
    """One request on a connection of its own. In TLS 1.3 a client learns at its first read that it was refused."""
    with Client(server.port, context) as client:
        client.send(features_request(1002))
        return client.answer()


def served_certificate(server: Server, context: ssl.SSLContext) -> bytes:
    with Client(server.port, context) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        return client.socket.getpeercert(binary_form=True) or b""


# ------------------------------------------------------------------------------------------------- client certificates


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates(corpus: Path, ours: Pki, theirs: Pki, version: ssl.TLSVersion) -> None:
    """One of the authority's is let in; nobody with another's, or without. The server goes on."""
    with Server(corpus, *ours.flags, "--client-ca", str(ours.ca)) as server:
        for client, accepted in ((ours, True), (theirs, False), (None, False), (ours, True)):
            context = ours.context(client)
            context.maximum_version = context.minimum_version = version
            if accepted:
                assert ask(server, context).columns["trips"] == [1]
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    ask(server, context)
        with server.client() as plain:
            plain.send(features_request(1002))
            assert not plain.rest().startswith(b"HTTP")


def test_client_certificates_on_a_unix_socket(corpus: Path, ours: Pki, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Server(corpus, *ours.flags, "--client-ca", str(ours.ca), "--uds", str(path)) as server:
        with Client(path, ours.context(ours)) as client:
            assert client.ask("/health").status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)), Client(path, ours.context()) as client:
            client.ask("/health")
        server.send_signal(signal.SIGHUP)
        server.wait_for("TLS files reloaded")
        with Client(path, ours.context(ours)) as client:
            assert client.ask("/health").status == 200
    assert not path.exists()


def test_old_versions_of_tls_are_refused(corpus: Path, ours: Pki) -> None:
    with Server(corpus, *ours.flags) as server:
        context = ours.context()
        context.set_ciphers("ALL:@SECLEVEL=0")  # or this side would refuse
        with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
            context.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(server, context)


# ----------------------------------------------------------------------------------------------------- replaced files


def test_replaced_files_are_taken_on_sighup(corpus: Path, ours: Pki) -> None:
    """By new connections; those that there are go on."""
    with Server(corpus, *ours.flags) as server, Client(server.port, ours.context()) as early:
        assert early.ask("/health").status == 200
        before = served_certificate(server, ours.context())
        after = ours.renew()
        assert served_certificate(server, ours.context()) == before != after
        server.send_signal(signal.SIGHUP)
        server.wait_for("TLS files reloaded")
        assert served_certificate(server, ours.context()) == after
        assert ask(server, ours.context()).columns["trips"] == [1]
        early.send(features_request(1002))
        assert early.answer().columns["trips"] == [1]


def test_an_authority_that_is_replaced_is_no_longer_trusted(corpus: Path, ours: Pki, theirs: Pki) -> None:
    with Server(corpus, *ours.flags, "--client-ca", str(ours.ca)) as server:
        trusting = ours.context(ours), ours.context(theirs)
        assert ask(server, trusting[0]).status == 200
        replace_file(ours.ca, theirs.ca.read_bytes())
        server.send_signal(signal.SIGHUP)
        server.wait_for("TLS files reloaded")
        assert ask(server, trusting[1]).status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(server, trusting[0])


@pytest.mark.parametrize("broken", ["cert", "key", "ca"])
def test_broken_files_change_nothing(corpus: Path, ours: Pki, theirs: Pki, broken: str) -> None:
    """A line in the log says which; once they are good again, they are taken."""
    with Server(corpus, *ours.flags, "--client-ca", str(ours.ca)) as server:
        trusting = ours.context(ours)
        before = served_certificate(server, trusting)
        good = {path: path.read_bytes() for path in (ours.cert, ours.key, ours.ca)}
        spoilt = {"cert": ours.cert, "key": ours.key, "ca": ours.ca}[broken]
        for data in (b"", b"no PEM", theirs.key.read_bytes()):
            mark = len(server.lines)
            replace_file(spoilt, data)
            server.send_signal(signal.SIGHUP)
            server.wait_for(
                rf"ERROR TLS files not reloaded, the previous ones stay in use: --.* {spoilt}.*: ", after=mark
            )
            assert served_certificate(server, trusting) == before
            assert ask(server, trusting).status == 200
        replace_file(spoilt, good[spoilt])
        after = ours.renew()
        mark = len(server.lines)
        server.send_signal(signal.SIGHUP)
        server.wait_for("TLS files reloaded", after=mark)
        assert served_certificate(server, trusting) == after


def test_nobody_is_refused_while_files_are_reloaded(corpus: Path, ours: Pki) -> None:
    """And nothing of what served before stays open."""
    done = threading.Event()
    failures: list[Exception] = []
    answered = 0

    def go_on(server: Server) -> None:
        nonlocal answered
        while not done.is_set():
            try:
                assert ask(server, ours.context()).status == 200
                answered += 1
            except Exception as error:
                failures.append(error)

    def more_than(before: int) -> bool | None:
        return True if answered > before else None

    with Server(corpus, *ours.flags) as server:
        before_all = descriptors(server)
        asking = threading.Thread(target=go_on, args=(server,))
        asking.start()
        try:
            for _ in range(20):
                mark, before = len(server.lines), answered
                server.send_signal(signal.SIGHUP)
                server.wait_for("TLS files reloaded", after=mark)
                eventually(partial(more_than, before), "an answer")
        finally:
            done.set()
            asking.join()
        assert failures == []
        eventually(lambda: True if descriptors(server) == before_all else None, "the end of the old servers")


def descriptors(server: Server) -> int:
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


# ------------------------------------------------------------------------------------------------------------ starting


def _encrypted(key: Path) -> bytes:
    from cryptography.hazmat.primitives import serialization as s

    private = s.load_pem_private_key(key.read_bytes(), None)
    return private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"secret"))


def _with_short_key() -> tuple[bytes, bytes]:
    """A certificate of its own authority, and its key of 1024 bits; both are good PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (x509.CertificateBuilder(name, name, private.public_key(), 1, now, now + timedelta(days=1))).sign(
        private, hashes.SHA256()
    )
    key = private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    return certificate.public_bytes(s.Encoding.PEM), key


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        ("another's key", "--cert {cert} --key {key}: the private key does not belong to the certificate"),
        ("encrypted", "--cert {cert} --key {key}: the key is encrypted; expected one without a password"),
        ("no key", "--cert {cert} --key {key}: expected a certificate and its private key in PEM"),
        ("no certificate", "--cert {cert} --key {key}: expected a certificate and its private key in PEM"),
        ("short key", "--cert {cert} --key {key}: OpenSSL refuses it: EE_KEY_TOO_SMALL"),
        ("no authority", "--client-ca {ca}: expected certificates in PEM"),
        ("authority is gone", "--client-ca {ca}: No such file or directory"),
    ],
)
def test_what_cannot_be_used_is_one_line(corpus: Path, ours: Pki, theirs: Pki, spoil: str, expected: str) -> None:
    match spoil:
        case "another's key":
            ours.key.write_bytes(theirs.key.read_bytes())
        case "encrypted":
            ours.key.write_bytes(_encrypted(ours.key))
        case "no key":
            ours.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        case "short key":
            cert, key = _with_short_key()
            ours.cert.write_bytes(cert)
            ours.key.write_bytes(key)
        case "no certificate":
            ours.cert.write_bytes(b"")
        case "no authority":
            ours.ca.write_bytes(b"hello")
        case "authority is gone":
            ours.ca.unlink()
    flags = {"tls_cert": str(ours.cert), "tls_key": str(ours.key), "tls_client_ca": str(ours.ca)}
    with pytest.raises(ConfigError) as caught:
        tls_context(load_config(chdir=str(corpus), flags=flags, environ={}).tls)
    assert str(caught.value) == expected.format(cert=ours.cert, key=ours.key, ca=ours.ca)


def test_an_authority_needs_a_certificate(corpus: Path) -> None:
    code, _, err = command_line("-c", corpus, "serve", "-p", "0", "--client-ca", str(CERTIFICATE))
    assert (code, err.count("\n")) == (2, 1)
    assert "--client-ca needs --key and --cert" in err


# -------------------------------------------------------------------------------------------------------------- ending


@contextlib.contextmanager
def held_back(folder: Path, valkey: Valkey) -> Iterator[tuple[Server, Proxy]]:
    flags = ("--cert", str(CERTIFICATE), "--key", str(CERTIFICATE_KEY), "--store-timeout-ms", "15000")
    with Proxy(valkey.port) as proxy:
        repository(folder, "redis", f"127.0.0.1:{proxy.port}")
        with Server(folder, *flags) as server:
            yield server, proxy


def test_a_client_may_say_that_it_ends(tmp_path: Path, valkey: Valkey) -> None:
    """Its close_notify, before or during a request, is normal: nothing of it is in the log."""
    with held_back(tmp_path / "r", valkey) as (server, proxy):
        mark = len(server.lines)
        with Client(server.port, tls_client_context()) as client:
            client.send(features_request(1002))
            assert client.answer().status == 200
            assert isinstance(client.socket, ssl.SSLSocket)
            client.socket.unwrap().close()
        with Client(server.port, tls_client_context()) as client:
            proxy.hold()
            client.send(features_request(1002))
            proxy.wait_until_held()
            assert isinstance(client.socket, ssl.SSLSocket)
            client.socket.unwrap().close()
            proxy.release()
        with Client(server.port, tls_client_context()) as client:
            client.send(features_request(1002))
            assert client.answer().status == 200
        assert server.stop() == 0
        assert [line for line in server.lines[mark:] if "INFO" not in line] == []
