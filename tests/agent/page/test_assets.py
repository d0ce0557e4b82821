import hashlib
import json
import re

import pytest

from agent.page.assets import CHARTS, FOLDER, LIBRARIES, PAGE, REPORT, STYLE, asset
from agent.page.data import Figure

OURS = (CHARTS, PAGE, REPORT, STYLE)
VENDORED = json.loads((FOLDER / "vendored.json").read_text())


def test_every_file_is_ours_or_told_of() -> None:
    told = {*VENDORED, *(each["licence_file"] for each in VENDORED.values()), "vendored.json"}
    assert {path.name for path in FOLDER.iterdir()} == {*OURS, *told}
    assert set(LIBRARIES) == VENDORED.keys()


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_is_the_one_that_is_named_and_has_its_licence(name: str) -> None:
    told = VENDORED[name]
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == told["sha256"]
    assert f"v{told['version']} " in asset(name)[:200]
    assert told["licence"] == "ISC" and "Permission to use, copy, modify" in (FOLDER / told["licence_file"]).read_text()


@pytest.mark.parametrize("name", [*LIBRARIES, *OURS])
def test_no_asset_ends_the_element_that_holds_it_or_reaches_out(name: str) -> None:
    text = asset(name)
    assert not re.search(r"</(script|style)|<!--|\r|sourceMappingURL", text, re.IGNORECASE)
    if name in OURS:
        assert not re.search(r"https?:|\bfetch\(|XMLHttp|WebSocket|\beval\(|innerHTML|document\.write", text)


def test_every_figure_that_data_may_ask_for_is_drawn() -> None:
    drawn = set(re.search(r"return \{ (scoreByCost.*?) \};", asset(CHARTS))[1].split(", "))  # type: ignore[index]
    asked = {"scoreByCost", "course", "effect", "effectDomain", "trainingCurves"}
    assert asked | set(Figure.model_fields["draws"].annotation.__args__) == drawn  # type: ignore[union-attr]


def test_an_asset_is_named_by_its_name_alone() -> None:
    with pytest.raises(FileNotFoundError):
        asset("../assets.py")
