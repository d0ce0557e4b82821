"""What a client needs from outside: keys as they are pasted, and a sentence before anything is made."""

import os
import ssl
import time
from itertools import pairwise
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from model_server import Say, serve
from typed import answering

from agent.backends.asking import Asking
from agent.backends.chain import Chain
from agent.backends.errors import BackendError
from agent.backends.registry import Address, Backend, check_backend, make_model
from agent.config.sources import load_provider_keys
from diffusion.errors import UserError
from memory.redaction import redact

KEY = "sk-test-0123456789"


@pytest.mark.parametrize("pasted", [f"{KEY}\n", f"{KEY}\r", f"{KEY}\r\n", f" {KEY} ", f"\t{KEY}"], ids=ascii)
def test_space_around_a_key_does_not_reach_the_server(pasted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", pasted)
    with serve(lambda messages: Say("hello")) as server:
        assert make_model("openai:x", base_url=server.url).invoke([HumanMessage("hi")]).text == "hello"
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert os.environ["OPENAI_API_KEY"] == KEY  # where clients look that are given none


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "WANDB_API_KEY"])
def test_space_around_any_key_goes_when_keys_are_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, f"{KEY}\n")
    load_provider_keys()
    assert os.environ[name] == KEY


def test_a_key_with_space_around_it_is_redacted_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "plain-looking-key\n")
    assert "plain" not in redact("refused: plain-looking-key")


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-ä", "sk-a b", "sk-\x1b[31m"], ids=ascii)
def test_a_key_that_no_header_holds_is_named_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match=r"^OPENAI_API_KEY holds what no key has \(character \d") as stopped:
        check_backend("openai:x", None)
    assert key not in str(stopped.value)
    assert stopped.value.args[0].isprintable()


def caused(*causes: Exception) -> Exception:
    """An error with its causes, the root last."""
    for error, cause in pairwise(causes):
        error.__cause__ = cause
    return causes[0]


def named(name: str, said: str = "said", **values: int) -> Exception:
    """An error of another package."""
    error: Exception = type(name, (Exception,), values)(said)
    return error


@pytest.mark.parametrize(
    ("error", "transient", "refused"),
    [
        (caused(named("ConnectionError_"), named("ConnectError"), ConnectionRefusedError(111, "refused")), True, False),
        (caused(named("APIConnectionError"), named("LocalProtocolError", "Illegal header value")), False, True),
        (caused(named("APIConnectionError"), named("UnsupportedProtocol")), False, True),
        (caused(named("APIConnectionError"), ssl.SSLCertVerificationError("self-signed")), False, True),
        (caused(named("Wrapped"), named("AuthenticationError", status_code=401)), False, True),
        (caused(named("Wrapped"), named("NotFoundError", status_code=404)), False, True),
        (caused(named("Wrapped"), named("BadRequest", status_code=400)), False, False),
        (caused(named("Wrapped"), named("Overloaded", status_code=503)), True, False),
    ],
    ids=repr,
)
def test_what_lasts_is_found_among_the_causes_and_named(error: Exception, transient: bool, refused: bool) -> None:
    found = BackendError(error)
    assert (found.transient, found.refused) == (transient, refused)
    root = error
    while root.__cause__ is not None:
        root = root.__cause__  # type: ignore[assignment]
    assert str(root) in str(found)


def test_a_circle_of_causes_ends() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert BackendError(first).transient


def test_a_header_that_cannot_be_sent_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org\nid")
    with serve(lambda messages: Say("hello")) as server:
        address = Address("openai:x", server.url)
        backend = Backend(address, make_model(address.llm, base_url=address.base_url))
        began = time.monotonic()
        with pytest.raises(BackendError, match="LocalProtocolError: Illegal header value"):
            Asking(Chain([backend], retries=5, retry_seconds=5.0), []).answer([HumanMessage("hi")])
        assert time.monotonic() - began < 4
        assert server.requests == []


ADDRESSES = (
    "http://[::1", "http://[::1:8000/v1", "http://", "http://host:99999/v1", "http://host:abc/v1", "http://a b/v1",
    "http://host/v1\n", "https:///v1", "localhost", "ftp://host/v1", "http://host:0/v1",
)  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES, ids=ascii)
def test_a_malformed_address_is_one_sentence(address: str) -> None:
    with pytest.raises(UserError, match=r"is not an address; write --base-url http://HOST:PORT/v1$"):
        check_backend("openai:x", address)


@pytest.mark.parametrize("address", ["http://[::1]:8000/v1", "https://host/v1", "http://127.0.0.1:8000"])
def test_an_address_is_one(address: str) -> None:
    check_backend("openai:x", address)


OUTSIDE = {
    "a certificate file that is not there": (
        "SSL_CERT_FILE",
        "/none.pem",
        "SSL_CERT_FILE '/none.pem' cannot be read (No",
    ),
    "a certificate file that holds none": ("SSL_CERT_FILE", "/etc/hostname", "SSL_CERT_FILE '/etc/hostname' cannot be"),
    "a proxy without its package": ("ALL_PROXY", "socks5://127.0.0.1:1", "ALL_PROXY 'socks5://127.0.0.1:1' needs a pa"),
    "a proxy of another kind": ("ALL_PROXY", "foo://127.0.0.1:1", "ALL_PROXY 'foo://127.0.0.1:1' is no proxy that can"),
    "a malformed proxy": ("HTTPS_PROXY", "http://[::1", "HTTPS_PROXY 'http://[::1' is no proxy that can be used"),
    "a malformed address": ("DIFFNAS_BASE_URL", "http://[::1", "'http://[::1' is not an address"),
}


@pytest.mark.parametrize("command", ["run", "strategy"])
@pytest.mark.parametrize("what", OUTSIDE)
def test_a_client_that_cannot_be_made_is_one_sentence_before_anything_is(
    command: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, value, sentence = OUTSIDE[what]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFNAS_BASE_URL", f"http://127.0.0.1:9/{command}/{len(what)}")  # clients are kept by it
    monkeypatch.setenv(name, value)
    code, out, err = answering(monkeypatch, capsys)(command, "--llm=openai:x", "--name=first")
    assert (code, out) == (2, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
