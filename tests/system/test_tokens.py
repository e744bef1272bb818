"""Bearer tokens on a real process: who is let in, when the file changes, and that no token is ever written anywhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.harness import Answer, Server, Valkey, command_line, repository, request

OLD, NEW = "0ld-secret-abcdefghijk", "n3w.secret~lmnopqrstu=="
FEATURES = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1002]}}
FEASTS_REFUSAL = {"detail": "Invalid or expired access token"}
"""What `feast serve` answers with auth.type oidc, for whatever is wrong with a token. Feast 0.67.0."""


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# of the models\n\n{OLD}\n{NEW}  \r\n")
    return path


def ask(server: Server, *headers: str, body: object = FEATURES, target: str = "/get-online-features") -> Answer:
    with server.client() as client:
        return client.ask(target, body, "", *headers)


def test_who_is_let_in(corpus: Path, tokens: Path) -> None:
    with Server(corpus, "--auth-tokens", str(tokens)) as server:
        for value in (f"Bearer {OLD}", f"Bearer {NEW}", f"bearer {OLD}", f"BEARER   {NEW}"):
            answer = ask(server, f"Authorization: {value}")
            assert (answer.status, answer.columns["trips"]) == (200, [1]), value
        for values in (
            *([], [""], ["Bearer"], ["Bearer "], [OLD], [f"Basic {OLD}"], [f"Bearer {OLD}x"], [f"Bearer {OLD[:-1]}"]),
            *([f"Bearer {OLD} {NEW}"], [f"Bearer {OLD},"], [f"Bearer{OLD}"], ["Bearer # of the models"]),
        ):
            answer = ask(server, *(f"Authorization: {value}" for value in values))
            assert (answer.status, answer.json) == (401, FEASTS_REFUSAL), values
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "connection" not in answer.headers
        for values in ([f"Bearer {OLD}", f"Bearer {NEW}"], [f"Bearer {OLD}", f"Bearer {OLD}"], ["", f"Bearer {OLD}"]):
            answer = ask(server, *(f"Authorization: {value}" for value in values))
            assert (answer.status, answer.json) == (
                400,
                {"detail": "Bad Request: Authorization: expected one such header"},
            ), values


def test_a_token_comes_before_all_else(corpus: Path, tokens: Path) -> None:
    """As in Feast, 401 precedes 422; and who has none does not learn which paths there are."""
    with Server(corpus, "--auth-tokens", str(tokens)) as server:
        good = f"Authorization: Bearer {OLD}"
        for target, body, status in (
            ("/get-online-features", b"no JSON", 422),
            ("/nowhere", None, 404),
            ("/get-online-features", None, 405),
        ):
            assert ask(server, body=body, target=target).status == 401
            assert ask(server, good, body=body, target=target).status == status


def test_probes_need_no_token(corpus: Path, tokens: Path) -> None:
    with Server(corpus, "--auth-tokens", str(tokens)) as server:
        assert server.ask("/health").status == 200
        assert server.ask("/health?from=kubelet").status == 200
        assert server.ask("/livez").status != 401
        assert server.ask("/readyz").status != 401
        assert server.ask("/metrics").status == 401
        with server.client() as client:
            client.send(request("/health") + request("/get-online-features", FEATURES) + request("/health"))
            assert [client.answer().status for _ in range(3)] == [200, 401, 200]


def test_rotation(corpus: Path, tokens: Path) -> None:
    """A file that is read again lets new tokens in and old ones no longer; a bad one changes nothing."""
    with Server(corpus, "--auth-tokens", str(tokens)) as server:

        def statuses() -> tuple[int, int]:
            old, new = (ask(server, f"Authorization: Bearer {token}").status for token in (OLD, NEW))
            return old, new

        assert statuses() == (200, 200)
        tokens.write_text(f"{NEW}\n")
        assert statuses() == (200, 200)
        server.send_signal(signal.SIGHUP)
        server.wait_for("tokens reloaded: 1 from ")
        assert statuses() == (401, 200)
        for text in ("", "# nobody\n", f"{OLD}\nöh no\n", None):
            mark = len(server.lines)
            tokens.unlink() if text is None else tokens.write_text(text)
            server.send_signal(signal.SIGHUP)
            server.wait_for(
                rf"ERROR tokens not reloaded, the previous ones stay in use: --auth-tokens {tokens}", after=mark
            )
            assert statuses() == (401, 200)


def test_a_file_that_cannot_be_used_is_one_line(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    code, out, err = command_line("-c", corpus, "serve", "-p", "0", "--auth-tokens", str(path))
    assert (code, out) == (2, "")
    assert err == f"yummy-fast: --auth-tokens {path}: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_written_anywhere(tmp_path: Path, own_valkey: Valkey, form: str) -> None:
    """Not in logs of any kind, errors, answers, `check`, the command line, or what a child would inherit."""
    password = "hunter2-of-the-store"
    own_valkey.do("CONFIG", "SET", "requirepass", password)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{OLD}\n{NEW}\n")
    folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{own_valkey.port},password={password}")
    flags = ("--log-level", "debug", "--log-format", form, "--access-log-sample", "1", "--auth-tokens", str(tokens))
    secrets = [OLD, NEW, password]
    written: list[str] = []
    with Server(folder, *flags) as server:
        good = f"Authorization: Bearer {OLD}"
        wrong = "Authorization: Bearer guessed-by-somebody"
        secrets.append("guessed-by-somebody")
        answers = (
            ask(server, good),
            ask(server, wrong),
            ask(server, good, body=b"{"),
            ask(server, f"Authorization: {OLD}"),
            ask(server, good, target=f"/nowhere?token={NEW}", body=None),
            ask(server, good, "Bad Header: x"),
        )
        written += [f"{answer.headers} {answer.body!r}" for answer in answers]
        tokens.write_text(f"{OLD} {NEW}\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for("tokens not reloaded")
        written.append(Path(f"/proc/{server.process.pid}/cmdline").read_text())
        assert server.stop() == 0
        written.append(server.log)
    environment = {"YUMMY_FAST_AUTH_TOKENS": str(tokens)}
    written += command_line("-c", folder, "check", environment=environment)[1:]
    written += command_line("-c", folder, "check", "--json", environment=environment)[1:]
    repository(folder, "redis", f"127.0.0.1:{own_valkey.port},password=another-{password}")
    written += command_line("-c", folder, "check", environment=environment)[1:]
    written += command_line("-c", folder, "serve", "-p", "0", *flags)[1:]
    for text in written:
        for secret in secrets:
            assert secret not in text
    assert os.fspath(tokens) in server.log
