import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.errors import UserError
from memory import redaction, trainings, trials
from memory.ledger import charge
from memory.redaction import REDACTED, add_secret, holds_secret, is_secret_name, redact, redacted_json
from memory.searches import set_state
from memory.transcript import add_message, record_call

SECRET = 'wyvern"7\\tail'  # with characters that JSON writes in another way


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    return SECRET


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "aws_secret", "DB_PASSWORD"])
def test_values_of_secret_variables_are_taken_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "correct-horse")
    assert is_secret_name(name)
    assert redact("a correct-horse b correct-horse") == f"a {REDACTED} b {REDACTED}"


OTHERS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GITHUB_PAT", "FILE_PASS", "MYSQL_PWD", "SENTRY_DSN")


@pytest.mark.parametrize("name", [*OTHERS, "GOOGLE_CREDENTIALS", "BASIC_AUTH", "VAULT_PASSPHRASE", "DB_PASSWD"])
def test_variables_of_other_providers_are_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "correct-horse")
    assert redact("a correct-horse b") == f"a {REDACTED} b"


def test_the_password_in_a_url_is_secret_wherever_it_turns_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://alice:correct-horse@db/trials")
    assert holds_secret("DATABASE_URL", "postgres://alice:correct-horse@db/trials")
    assert redact("the server said correct-horse") == f"the server said {REDACTED}"


@pytest.mark.parametrize(
    "name", ["PWD", "OLDPWD", "SSH_AUTH_SOCK", "DIFFNAS_MAX_TOKENS", "TOKENIZERS_PARALLELISM", "KEYBOARD"]
)
def test_places_and_our_settings_are_none(name: str) -> None:
    assert not is_secret_name(name)


def test_short_values_and_other_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_TOKEN", "digits")
    monkeypatch.setenv("DIFFNAS_DB", "/some/where.db")
    assert not is_secret_name("DIFFNAS_DB")
    assert redact("digits in /some/where.db") == "digits in /some/where.db"


def test_a_secret_that_contains_another_is_taken_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abcdefgh")
    monkeypatch.setenv("B_TOKEN", "abcdefgh-and-more")
    assert redact("abcdefgh-and-more") == REDACTED


def test_a_secret_is_found_inside_json_and_urls(planted: str) -> None:
    for text in (planted, json.dumps({"key": planted}), "https://host/?key=wyvern%227%5Ctail"):
        assert "wyvern" not in redact(text)


def test_an_added_secret_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_added", set())
    for value in (None, "", "short", "from-a-dotenv-file"):
        add_secret(value)
    assert redact("short from-a-dotenv-file") == f"short {REDACTED}"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("key sk-proj-abc_DEF123456 wrong", f"key {REDACTED} wrong"),
        ("Incorrect API key provided: sk-abcd****wxyz.", f"Incorrect API key provided: {REDACTED}."),
        ("hf_abcdefghijkl", REDACTED),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: Bearer {REDACTED}"),
        ("https://me:hunter2@host/v1", f"https://{REDACTED}@host/v1"),
    ],
)
def test_what_looks_like_a_key_is_taken_out(text: str, wanted: str) -> None:
    assert redact(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "b128-n2-m1.2.2.2-a0100",
        "task-number-twelve",
        "the bearer of news",
        "http://localhost:8080/v1",
        "377f255d4dc3",
        "",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(st.characters(categories=["L", "N", "P", "Z", "Cc", "Cs"])))
def test_redacted_text_can_be_stored(text: str) -> None:
    stored = redact(text)
    assert "\0" not in stored
    stored.encode("utf-8")
    assert redact(stored) == stored


def test_json_stays_json_whatever_the_secret_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBER_PASSWORD", "12345678")
    value = {"macs": 12345678, "text": "12345678", "nan": float("nan"), "path": Path("x"), "list": (1, None, True)}
    assert json.loads(redacted_json(value)) == {
        "macs": 12345678, "text": REDACTED, "nan": "nan", "path": "x", "list": [1, None, True],
    }  # fmt: skip


def test_no_column_that_holds_foreign_text_keeps_a_secret(planted: str, fill: Any, path: Path) -> None:
    fill.search(config={"llm": {"api_key": planted}}, name="s1")
    fill.refuse(1, 0, raw_text=planted, refusal=planted, reason=planted, proposer=planted)
    accepted = fill.accept(1, 0, raw_text=planted, reason=planted)
    trainings.training_failed(fill.db, accepted.training, planted, 0.0)
    trials.trial_failed(fill.db, accepted.trial, planted)
    fill.score(accepted.training, 1.0, extra={"note": [planted]})
    set_state(fill.db, 1, "failed", planted)
    charge(fill.db, 1, "wall", note=planted)
    add_message(fill.db, 1, "user", planted, author=planted)
    record_call(
        fill.db, 1, 0, purpose="p", model="m", request={planted: planted}, response=[planted], error=planted,
        input_tokens=0, output_tokens=0, cost_usd=0.0, seconds=0.0,
    )  # fmt: skip
    stored = "\n".join(fill.db.conn.iterdump())
    assert stored.count(REDACTED) >= 17
    assert "wyvern" not in stored
    for file in path.parent.iterdir():
        assert b"wyvern" not in file.read_bytes()


def test_a_name_is_refused_before_it_could_hold_a_secret(planted: str, fill: Any) -> None:
    with pytest.raises(UserError):
        fill.search(name=planted)
