"""The guards that every other test relies on do guard."""

import asyncio
import os
import socket
import urllib.error
import urllib.request

import pytest


def test_a_socket_to_another_machine_is_refused() -> None:
    with socket.socket() as client, pytest.raises(AssertionError, match=r"'192\.0\.2\.1' is another machine"):
        client.connect(("192.0.2.1", 80))  # TEST-NET-1 of RFC 5737: belongs to nobody


def test_a_socket_to_another_machine_is_refused_when_asked_for_an_error_code() -> None:
    with socket.socket() as client, pytest.raises(AssertionError, match=r"'192\.0\.2\.1' is another machine"):
        client.connect_ex(("192.0.2.1", 80))


def test_a_name_on_the_network_is_not_looked_up() -> None:
    with pytest.raises(AssertionError, match=r"'example\.invalid' is another machine"):
        urllib.request.urlopen("http://example.invalid/")


def test_an_asynchronous_connection_is_refused_too() -> None:
    with pytest.raises(AssertionError, match=r"'2001:db8::1' is another machine"):
        asyncio.run(asyncio.open_connection("2001:db8::1", 80))  # documentation prefix of RFC 3849


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_open(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection((host, server.getsockname()[1])):
        pass


def test_no_key_and_no_setting_of_the_developer_reaches_a_test() -> None:
    assert not [name for name in os.environ if name.endswith("_API_KEY") or name.startswith("DIFFNAS_")]


def test_tracing_is_off_and_the_hub_is_offline() -> None:
    assert os.environ["LANGSMITH_TRACING"] == "false"
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("turn", ["first", "second"])
def test_what_a_test_writes_into_the_environment_is_gone_in_the_next(turn: str) -> None:
    assert "PLANTED_API_KEY" not in os.environ
    os.environ["PLANTED_API_KEY"] = turn
