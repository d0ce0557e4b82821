"""Where settings come from. Later wins: built-in defaults, ``--preset``, ``--bench``, ``diffnas.toml`` (or
``--config``), ``.env`` and the environment (``DIFFNAS_*``), options. No secret is a setting: the providers' keys stay
in the environment.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from agent.config.backend import OFFLINE
from agent.config.settings import FIELDS, ONLY_TYPED, PREFIX, SEARCHERS, RunConfig, is_own, setting_of
from diffusion.errors import UserError
from diffusion.files.text import read_text, read_toml
from diffusion.units import shortened
from memory.redaction import is_secret_name

ENV_FILE = ".env"
CONFIG_FILE = "diffnas.toml"


@dataclass(frozen=True)
class Resolved:
    """A `RunConfig`, for each setting the source that decided it, and sentences about what a source chose."""

    config: RunConfig
    sources: dict[str, str]
    notes: tuple[str, ...] = ()

    def shown(self) -> dict[str, Any]:
        """Each setting as JSON with the source that decided it; the baseline as a spec's text."""
        values = self.config.as_json() | {"baseline": str(self.config.search.baseline)}
        return {name: {"value": value, "from": self.sources[name]} for name, value in values.items()}


def resolve(options: Mapping[str, Any], config_file: Path | None = None) -> Resolved:
    """The settings of a run from all sources; `options` that are None were not given.

    Raises:
        UserError: one sentence that starts with the first value that is wrong and says where it stands.
    """
    given = {name: value for name, value in options.items() if value is not None}
    layers = {**outside(config_file), "option": given}
    preset, source = chosen_preset(layers)
    layers = {"preset": preset_settings(preset), **layers}
    bench, _ = last_said("bench", layers) or (None, "")
    if bench is not None:  # goes before what a preset says, and after what anybody typed
        layers = {"preset": layers.pop("preset"), "bench": _of_table(bench), **layers}
    values: dict[str, Any] = {"preset": preset}
    named = {"preset": f"preset {preset}", "bench": f"bench {bench}"}
    sources = dict.fromkeys(FIELDS, "built-in") | {"preset": source}
    for layer, settings in layers.items():
        values |= settings
        sources |= dict.fromkeys(settings, named.get(layer, layer))
    config = _validated(values, sources)
    if sources["searcher"] == "built-in" and config.backend.llm == OFFLINE:
        config = config.changed(searcher="centaur")  # nobody is there who could choose better than the surrogate
    if found := _objected(config):
        raise UserError(f"{typed_name(found[0], sources)} {found[1]}")
    space = config.search.space
    if sources["baseline"] in ("built-in", *named.values()) and space.why_not(config.search.baseline):
        config = config.changed(baseline=space.baseline or space.middle)
        sources["baseline"] = f"space {space.name}"
    return Resolved(config, sources)


def outside(config_file: Path | None = None) -> dict[str, dict[str, Any]]:
    """What is said of settings outside of the command line, the weakest first.

    Raises:
        UserError: as `resolve`.
    """
    return {
        "file": file_settings(config_file),
        ".env": environment_settings(_dotenv()),
        "environment": environment_settings(os.environ),
    }


def _of_table(name: str) -> dict[str, Any]:
    """What a table settles; imported where one is named, since LangChain and numpy come along."""
    from agent.config.bench import bench_settings
    from diffusion.unetbench.table import find_table

    return bench_settings(find_table(name))


def _objected(config: RunConfig) -> tuple[str, str] | None:
    """The first setting that a table does not allow, and why; None without a table."""
    if config.search.bench is None:
        return None
    from agent.config.bench import objection
    from diffusion.unetbench.table import find_table

    return objection(config, find_table(config.search.bench))


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that change a stored search, each judged by itself; what it is changed in stands in memory.

    Raises:
        UserError: one sentence that starts with the first value that is wrong.
    """
    flat = _validated({"budget": 1, **options}, {}).flat()
    return {name: flat[name] for name in options}


def chosen_preset(layers: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """The named preset, or the one that suits the data set, and who chose it."""
    if named := last_said("preset", layers):
        return named
    dataset, _ = last_said("dataset", layers) or ("digits", "")
    return ("digits" if dataset == "digits" else "ddpm-cifar10"), "built-in"


def last_said(name: str, layers: Mapping[str, Mapping[str, Any]]) -> tuple[Any, str] | None:
    """The value of a setting, and the layer that decided it; None where no layer says anything."""
    said = [(settings[name], layer) for layer, settings in layers.items() if name in settings]
    return said[-1] if said else None


def preset_settings(name: str) -> dict[str, Any]:
    """The settings of a preset.

    Raises:
        UserError: there is none of that name.
    """
    presets = read_toml(Path(__file__).parent / "presets.toml")
    if name not in presets:
        raise UserError(f"'{name}' is not a preset; there are {', '.join(presets)}")
    settings: dict[str, Any] = presets[name]
    return settings


def file_settings(path: Path | None) -> dict[str, Any]:
    """The settings of ``diffnas.toml``, or of the file named with ``--config``."""
    found = path or Path(CONFIG_FILE)
    if not found.is_file():
        if path:
            raise UserError(f"'{path}' does not exist; name a TOML file with --config")
        return {}
    settings = read_toml(found, "allow it, or name another TOML file with --config")
    for name in settings:
        if name not in FIELDS:
            raise _unknown(name, str(found))
    return settings


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """The settings of ``--set KEY=VALUE``.

    Raises:
        UserError: no equals sign, or an unknown key.
    """
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise UserError(f"--set '{pair}' lacks a value; write --set learning_rate=1e-3")
        if name not in FIELDS:
            raise _unknown(name, "--set")
        found[name] = value
    return found


def environment_settings(environment: Mapping[str, str | None]) -> dict[str, str]:
    """What the environment says; an empty value says nothing.

    Raises:
        UserError: an unknown ``DIFFNAS_*`` name, which is a typing error and not something to pass over.
    """
    found = {name.upper(): value for name, value in environment.items() if name.upper().startswith(PREFIX)}
    for name in found:
        if name.removeprefix(PREFIX).lower() not in FIELDS:
            raise _unknown(name, "the environment")
    return {name.removeprefix(PREFIX).lower(): value for name, value in found.items() if value}


def load_provider_keys() -> None:
    """Put the providers' keys of ``.env`` into the environment, where their packages look; what is set there wins."""
    for name, value in _dotenv().items():
        if value and not name.upper().startswith(PREFIX):
            os.environ.setdefault(name, value)
    for name, value in os.environ.items():
        if is_secret_name(name) and value != value.strip():  # a line break from a file or a secret store
            os.environ[name] = value.strip()


def _dotenv() -> dict[str, str | None]:
    found = Path(ENV_FILE)
    return dict(dotenv_values(stream=StringIO(read_text(found)))) if found.is_file() else {}


def _unknown(name: str, where: str) -> UserError:
    close = difflib.get_close_matches(name.lower().removeprefix(PREFIX.lower()), FIELDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(FIELDS)}"
    return UserError(f"'{name}' in {where} is not a setting; {hint}")


def _validated(values: Mapping[str, Any], sources: Mapping[str, str]) -> RunConfig:
    try:
        config = RunConfig.from_flat(values)
    except ValidationError as error:
        raise mistake(error, values, sources) from None
    check_searcher(config.search.searcher, typed_name("searcher", sources))
    return config


def check_searcher(searcher: str, said: str = "--searcher") -> None:
    """Whether there is such a searcher; one of the user's own has to be typed.

    Raises:
        UserError: there is none, or a file or the environment names one that would be imported.
    """
    if is_own(searcher):
        if not said.startswith("--"):
            raise UserError(f"{said} '{searcher}' {ONLY_TYPED}")
    elif searcher not in SEARCHERS:
        raise UserError(f"{said} '{searcher}' does not exist; there are {', '.join(SEARCHERS)}, or FILE.py:CLASS")


def mistake(error: ValidationError, values: Mapping[str, Any], sources: Mapping[str, str]) -> UserError:
    """The first thing that is wrong with `values`, as it was typed."""
    first = error.errors()[0]
    name = str(first["loc"][1])  # after its group
    cause = (first.get("ctx") or {}).get("error")
    if isinstance(cause, UserError):
        return UserError(f"{typed_name(name, sources)}: {cause}")
    shown = f"{typed_name(name, sources)} {shortened(str(values.get(name, first['input'])))}"
    return UserError(f"{shown}: {first['msg'][0].lower()}{first['msg'][1:]}")


def typed_name(field: str, sources: Mapping[str, str]) -> str:
    """A setting as it was typed where its value came from."""
    source = sources.get(field, "option")
    if source in (".env", "environment"):
        return PREFIX + field.upper()
    if source != "option":
        return f"{field} ({'settings file' if source == 'file' else source})"
    return "--" + field.replace("_", "-") if setting_of(FIELDS[field]).option else f"--set {field}"
