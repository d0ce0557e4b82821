"""Settings: who wins, who decided what, what a typing error is told, and that code, example and documentation agree."""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from searches import TinySearch

from agent.backends.registry import PROVIDERS
from agent.config.settings import FIELDS, GROUP_OF, PREFIX, setting_of
from agent.config.sources import load_provider_keys, parse_pairs, resolve, typed_name
from agent.config.stored import stored_config
from agent.search.plan import reopened
from diffusion.errors import UserError
from diffusion.settings import Strategy
from diffusion.spec import UNetSpec

ROOT = Path(__file__).parents[3]
VARIABLE = re.compile(r"^#? ?([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)
ROW = re.compile(r"^\| `([a-z_]+)` \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
SMALL = "b8-n1-m1.1.1.1-a0000"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No ``diffnas.toml`` and no ``.env`` but those that a test writes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def example() -> dict[str, str]:
    """The variables of ``.env.example`` with the values that stand there."""
    return dict(VARIABLE.findall((ROOT / ".env.example").read_text(encoding="utf-8")))


def documented() -> dict[str, tuple[str, str]]:
    """Default and option of each setting in the first part of docs/configuration.md."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").partition("## Presets")[0]
    return {name: (default, option) for name, default, option, _ in ROW.findall(text)}


def shown(value: Any) -> str:
    """A default as the documentation writes it."""
    if value is None:
        return "–"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


class TestPrecedence:
    LAYERS = ("preset digits", "file", ".env", "environment", "option")

    @pytest.mark.parametrize("last", range(len(LAYERS)))
    def test_the_later_source_wins_and_is_named(self, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
        options: dict[str, Any] = {}
        if last >= 1:
            Path("diffnas.toml").write_text("rounds = 101\n")
        if last >= 2:
            Path(".env").write_text("DIFFNAS_ROUNDS=102\n")
        if last >= 3:
            monkeypatch.setenv("DIFFNAS_ROUNDS", "103")
        if last >= 4:
            options["rounds"] = 104
        found = resolve(options)
        assert found.config.search.rounds == (5 if last == 0 else 100 + last)
        assert found.sources["rounds"] == self.LAYERS[last]

    def test_every_setting_has_a_source(self) -> None:
        assert set(resolve({}).sources) == set(FIELDS)

    def test_what_nobody_set_is_built_in(self) -> None:
        found = resolve({})
        assert found.sources["seed"] == found.sources["preset"] == "built-in"
        assert found.sources["budget"] == "preset digits"

    def test_an_option_that_is_none_was_not_given(self) -> None:
        assert resolve({"rounds": None}).sources["rounds"] == "preset digits"

    def test_a_named_file_replaces_the_usual_one(self) -> None:
        Path("diffnas.toml").write_text("rounds = 1\nseed = 1\n")
        Path("other.toml").write_text("rounds = 2\n")
        found = resolve({}, Path("other.toml"))
        assert (found.config.search.rounds, found.config.search.seed) == (2, 0)

    @pytest.mark.parametrize("where", ["file", ".env", "environment", "option"])
    def test_a_preset_may_be_named_anywhere_and_stays_the_weakest(
        self, where: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("diffnas.toml").write_text('rounds = 3\npreset = "ddpm-cifar10"\n' if where == "file" else "rounds = 3\n")
        if where == ".env":
            Path(".env").write_text("DIFFNAS_PRESET=ddpm-cifar10\n")
        if where == "environment":
            monkeypatch.setenv("DIFFNAS_PRESET", "ddpm-cifar10")
        found = resolve({"preset": "ddpm-cifar10"} if where == "option" else {})
        assert (found.config.search.preset, found.sources["preset"]) == ("ddpm-cifar10", where)
        assert (found.config.strategy.train_steps, found.config.search.rounds) == (160_000, 3)
        assert found.sources["train_steps"] == "preset ddpm-cifar10"

    @pytest.mark.parametrize(("dataset", "preset"), [("digits", "digits"), ("images.npz", "ddpm-cifar10")])
    def test_without_a_preset_the_data_set_chooses_it(self, dataset: str, preset: str) -> None:
        found = resolve({"dataset": dataset})
        assert (found.config.search.preset, found.config.data.dataset) == (preset, dataset)


class TestEnvironment:
    def test_an_empty_variable_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIFFNAS_ROUNDS", "")
        assert resolve({}).sources["rounds"] == "preset digits"

    @pytest.mark.parametrize(
        "text",
        [SMALL, '{"base_channel":8,"num_blocks":1,"channel_mult":[1,1,1,1],"attn":[false,false,false,false]}'],
    )
    def test_a_spec_is_written_there_as_on_the_command_line(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIFFNAS_BASELINE", text)
        assert resolve({}).config.search.baseline == UNetSpec.parse(SMALL)

    def test_provider_keys_of_the_env_file_reach_their_packages_but_settings_do_not(self) -> None:
        Path(".env").write_text("OPENAI_API_KEY=from-the-file\nDIFFNAS_SEED=3\n")
        load_provider_keys()
        assert os.environ["OPENAI_API_KEY"] == "from-the-file"
        assert "DIFFNAS_SEED" not in os.environ

    def test_a_key_of_the_environment_wins_over_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path(".env").write_text("OPENAI_API_KEY=from-the-file\nANTHROPIC_API_KEY=\n")
        monkeypatch.setenv("OPENAI_API_KEY", "from-outside")
        load_provider_keys()
        assert os.environ["OPENAI_API_KEY"] == "from-outside"
        assert "ANTHROPIC_API_KEY" not in os.environ

    def test_no_key_is_a_setting(self) -> None:
        assert not [name for name in FIELDS if re.search(r"key|token\b|secret|password", name)]  # llm_max_tokens counts


MISTAKES = [
    ({"toml": "dropuot = 0.2"}, "'dropuot' in diffnas.toml is not a setting; did you mean dropout?"),
    ({"toml": "[search]\nrounds = 2"}, "'search' in diffnas.toml is not a setting; "),
    ({"toml": "rounds = "}, "'diffnas.toml' is not TOML: "),
    ({"env": "DIFFNAS_BUGDET=3M"}, "'DIFFNAS_BUGDET' in the environment is not a setting; did you mean budget?"),
    ({"env": "DIFFNAS_QQ=3"}, "'DIFFNAS_QQ' in the environment is not a setting; there are preset, budget, "),
    ({"env": "DIFFNAS_BUDGET=9Q"}, "DIFFNAS_BUDGET: '9Q' is not a number of MACs; write 6.06G, 20M or 20000000"),
    ({"env": "DIFFNAS_BASELINE=b9"}, "DIFFNAS_BASELINE: 'b9' is not a spec; write it like b128-n2-m1.2.2.2-a0100"),
    ({"env": "DIFFNAS_ROUNDS=many"}, "DIFFNAS_ROUNDS many: input should be a valid integer"),
    ({"toml": "dropout = 1.5"}, "dropout (settings file) 1.5: input should be less than 1"),
    ({"options": {"ema_decay": "1.5"}}, "--set ema_decay 1.5: input should be less than 1"),
    ({"options": {"preset": "mnist"}}, "'mnist' is not a preset; there are digits, ddpm-cifar10, iddpm-cifar10"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "sentence"), MISTAKES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_mistake_is_named_with_its_place_and_the_remedy(given: dict[str, Any], sentence: str) -> None:
    for name, place in (("toml", "diffnas.toml"), ("env", ".env")):
        if name in given:
            Path(place).write_text(given[name] + "\n")
    with pytest.raises(UserError) as raised:
        resolve(given.get("options", {}))
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("path", ["none.toml", "."])
def test_a_config_that_is_no_file_is_named(path: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"'{path}' does not exist; name a TOML file with --config")):
        resolve({}, Path(path))


class TestPairs:
    def test_set_takes_every_setting_as_text(self) -> None:
        pairs = parse_pairs(["learning_rate=1e-3", "horizontal_flips=true", f"baseline={SMALL}", "name=a=b"])
        found = resolve({**pairs, "name": None}).config
        assert (found.strategy.learning_rate, found.data.horizontal_flips, str(found.search.baseline)) == (
            1e-3,
            True,
            SMALL,
        )
        assert pairs["name"] == "a=b"

    def test_a_pair_without_a_value_and_an_unknown_key_are_told_what_would_be_right(self) -> None:
        with pytest.raises(UserError, match=r"^--set 'dropout' lacks a value; write --set learning_rate=1e-3$"):
            parse_pairs(["dropout"])
        with pytest.raises(UserError, match=r"^'dropuot' in --set is not a setting; did you mean dropout[?]$"):
            parse_pairs(["dropuot=0.1"])


class TestAgreement:
    def test_the_example_environment_has_every_setting_and_the_keys_of_every_provider(self) -> None:
        keys = {provider.key for provider in PROVIDERS.values() if provider.key} | {"WANDB_API_KEY"}
        assert set(example()) == {PREFIX + name.upper() for name in FIELDS} | keys

    def test_the_example_environment_holds_the_built_in_defaults(self) -> None:
        for name, field in FIELDS.items():
            if not field.is_required() and field.default is not None:
                assert example()[PREFIX + name.upper()] == shown(field.default).strip("`"), name

    def test_the_example_environment_changes_nothing_until_it_is_edited(self) -> None:
        Path(".env").write_text((ROOT / ".env.example").read_text(encoding="utf-8"))
        assert set(resolve({}).sources.values()) == {"built-in", "preset digits"}

    def test_every_value_of_the_example_environment_can_be_used(self) -> None:
        values = {name: value for name, value in example().items() if name.startswith(PREFIX)}
        del values["DIFFNAS_BENCH"]  # a table settles the protocol, which the other examples have otherwise
        Path(".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        sources = resolve({}).sources
        assert {name for name, source in sources.items() if source != ".env"} == {"bench"}

    def test_the_documentation_has_a_row_for_every_setting_with_its_default_and_option(self) -> None:
        assert set(documented()) == set(FIELDS)
        for name, field in FIELDS.items():
            default = "that of the preset" if field.is_required() else shown(field.default)
            option = typed_name(name, {}) if setting_of(field).option else "--set"
            assert documented()[name] == (default, f"`{option}`"), name

    def test_the_strategy_takes_all_its_values_from_settings_with_equal_defaults(self) -> None:
        for name, field in Strategy.model_fields.items():
            assert (GROUP_OF[name], FIELDS[name].default) == ("strategy", field.default), name

    def test_the_documented_presets_are_those_of_the_file(self) -> None:
        presets = tomllib.loads((ROOT / "agent" / "config" / "presets.toml").read_text(encoding="utf-8"))
        text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").partition("## Presets")[2]
        head = re.search(r"^\| setting \| (.*) \|$", text, re.MULTILINE)
        assert head is not None
        assert head[1].split(" | ") == [f"`{name}`" for name in presets]
        table = text[head.start() :].partition("\n\n")[0].splitlines()[2:]
        cells = [line.strip("| ").split(" | ") for line in table]
        rows = {row[0].strip("`"): row[1:] for row in cells}
        assert set(rows) == {name for settings in presets.values() for name in settings}
        for name, row in rows.items():
            assert row == [shown(settings.get(name)) for settings in presets.values()], name

    @pytest.mark.parametrize(
        "preset", ["digits", "ddpm-cifar10", "iddpm-cifar10", "mls-bench-small", "mls-bench-large"]
    )
    def test_a_preset_is_valid(self, preset: str) -> None:
        assert resolve({"preset": preset}).config.search.preset == preset


OF_AN_EARLIER_VERSION = """{"preset":"digits","budget":6000000,"count":"paper","space":"digits-8","rounds":5,
"searcher":"rank-study","seed":2,"name":"s-rapid","llm":"offline","base_url":null,"llm_fallbacks":null,"dataset":"digits",
"data_dir":"/somewhere/data","family":"ddpm","learning_rate":0.001,"batch_size":128,"train_steps":600,
"checkpoint_steps":200,"snapshot_steps":[150,300,600],"feature_network":"digits-cnn","num_images":1437,"parallel":"auto",
"nproc":1,"log_with":null,"db":"/somewhere/diffnas.db","out":"/somewhere/runs","baseline":"b16-n1-m1.2.2.2-a0100",
"study":"s","arm":"rapid","specs":["b16-n1-m1.2.2.2-a0100"],"score_steps":[150,300,600],"train":"rapid"}"""


def test_the_settings_of_a_search_of_an_earlier_version_are_read_as_they_were_stored() -> None:
    """They are flat, and beside them stands what the search was told."""
    found = stored_config(OF_AN_EARLIER_VERSION, {"nproc": 2})
    assert (found.search.budget, found.data.data_dir, found.jobs.nproc) == (6_000_000, Path("/somewhere/data"), 2)
    assert found.jobs.snapshot_steps == (150, 300, 600)
    flat = found.as_json() | {"baseline": str(found.search.baseline), "nproc": 1}
    assert {name: flat[name] for name in flat.keys() & json.loads(OF_AN_EARLIER_VERSION)} == {
        name: value for name, value in json.loads(OF_AN_EARLIER_VERSION).items() if name in FIELDS
    }


def test_a_search_is_not_read_under_a_space_that_has_changed_since(tmp_path: Path) -> None:
    search = TinySearch(tmp_path)
    config_json = search.rows("SELECT config_json FROM searches")[0]["config_json"]
    told = json.loads(config_json)
    assert told["space_fingerprint"] == stored_config(config_json).search.space.fingerprint
    with pytest.raises(UserError) as raised:
        stored_config(json.dumps(told | {"space_fingerprint": "0123456789ab"}))
    here = told["space_fingerprint"]
    assert str(raised.value).startswith(f"'digits-8' has other choices here ({here}) than where the search began")
    with pytest.raises(UserError, match="0123456789ab"):
        reopened(json.dumps(told | {"space_fingerprint": "0123456789ab"}), search.plan.protocol, {})


def test_a_change_of_what_is_no_setting_is_a_bug_and_does_not_vanish() -> None:
    with pytest.raises(KeyError, match="nprocs"):
        stored_config(OF_AN_EARLIER_VERSION, {"nprocs": 2})
    with pytest.raises(KeyError, match="nprocs"):
        stored_config(OF_AN_EARLIER_VERSION).changed(nprocs=2)
