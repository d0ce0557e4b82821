"""What ``--dry-run`` says of the features of the real images: whether they are there, and what they take."""

from pathlib import Path

import numpy as np
import pytest
from searches import TINY

from agent.config.sources import resolve
from agent.estimate import reference
from agent.estimate.reference import ReferenceUse, print_reference, reference_use
from agent.report.console import people
from agent.search.plan import Plan, plan
from diffusion.data.images import open_images
from diffusion.scores.kept import KeptReference
from diffusion.scores.parts import Parts
from diffusion.scores.reference import Reference
from tools.context import reference_folder


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    return plan(resolve({**TINY, "out": tmp_path / "runs", "db": tmp_path / "diffnas.db"}).config)


def real_images(planned: Plan) -> Reference:
    out, fingerprint = planned.config.places.out, planned.protocol.data_fingerprint
    images = open_images(out / "data", fingerprint).train
    return Reference(images, "digits-cnn", reference_folder(out), fingerprint, "train")


def used(planned: Plan) -> ReferenceUse:
    found = reference_use(planned, planned.config.places.out)
    assert found is not None
    return found


def said(found: ReferenceUse | None, capsys: pytest.CaptureFixture[str]) -> str:
    print_reference(people(), found)
    return capsys.readouterr().out.strip()


def test_what_is_not_there_takes_so_many_images_at_the_pace(
    planned: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "seconds_an_image", lambda planned: 2.0)
    found = used(planned)
    assert (found.images, found.there, found.seconds) == (1437, 0, 2874.0)
    assert said(found, capsys) == (
        "Features of the 1,437 real images (train) by digits-cnn: about 48 min, once for all searches of this --out."
    )


def test_what_another_search_of_the_folder_computed_is_there_already(
    planned: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "seconds_an_image", lambda planned: 2.0)
    real_images(planned).statistics()
    other = plan(planned.config.changed(rounds=9, seed=5, train_steps=3))
    monkeypatch.setattr(reference, "seconds_an_image", lambda planned: pytest.fail("there is nothing to be estimated"))
    found = used(other)
    assert (found.there, found.seconds) == (1437, 0.0)
    assert said(found, capsys) == "Features of the 1,437 real images (train) by digits-cnn: there already."


def test_a_damaged_file_is_not_taken_for_what_is_there(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "seconds_an_image", lambda planned: 2.0)
    real_images(planned).statistics()
    (path,) = reference_folder(planned.config.places.out).glob("*.npz")
    path.write_bytes(path.read_bytes()[:-30])
    assert used(planned).there == 0


def test_parts_that_are_kept_are_counted(
    planned: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "seconds_an_image", lambda planned: 2.0)
    out, fingerprint = planned.config.places.out, planned.protocol.data_fingerprint
    kept = KeptReference(reference_folder(out), fingerprint, "train", 1437, "digits-cnn")
    parts = Parts(kept.path("-cpu.parts"), 1437, 256)
    parts.folder.mkdir(parents=True)
    for part in parts.slices[:2]:
        parts.keep(part, np.zeros((256, 32)))
    found = used(planned)
    assert (found.there, found.seconds) == (512, 2.0 * (1437 - 512))
    assert said(found, capsys).endswith("about 31 min, once for all searches of this --out; those of 512 are there.")


def test_a_pace_is_measured_and_nothing_is_downloaded_for_one(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    pace = reference.seconds_an_image(planned)
    assert pace is not None and 0 < pace < 0.1
    folder = str(planned.config.places.out / "nothing here")
    for name in ("XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, folder)
    inception = plan(planned.config.changed(feature_network="inception-v3-compat"))
    assert reference.seconds_an_image(inception) is None
    assert not Path(folder).exists()


def test_what_is_not_known_is_not_estimated(
    planned: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "seconds_an_image", lambda planned: None)
    assert used(planned).seconds is None
    assert "not there yet, and their time is not estimated" in said(used(planned), capsys)
    on_table = planned.config.changed(bench="unetbench")
    assert reference_use(Plan(on_table, planned.protocol, planned.baseline, None, ()), on_table.places.out) is None
