import json
import time
from pathlib import Path

import pytest
import torch

from diffusion.cost import throughput as peak
from diffusion.cost.closed_form import cost
from diffusion.cost.throughput import Speed, device_name, matmul_peak, measure_matmul
from diffusion.settings import Precision
from diffusion.spec import UNetSpec


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "CPU_SIDES", (64, 128))
    monkeypatch.setattr(peak, "SECONDS", 0.01)


class TestSpeed:
    def test_a_step_counts_six_operations_for_each_mac_of_each_image(self) -> None:
        macs = cost(UNetSpec.parse("b128-n2-m1.2.2.2-a0100")).macs.total
        speed = Speed(macs_total=macs, batch_size=8, peak=597_298_249_728.0)
        assert speed.flops_per_second(2.0) == 6 * 6_221_856_768 * 8 / 2
        assert speed.peak_share(2.0) == pytest.approx(0.25, rel=1e-3)
        assert speed.peak_share(4.0) == pytest.approx(0.125, rel=1e-3)

    def test_without_a_peak_there_is_no_share(self) -> None:
        assert Speed(10, 1, None).peak_share(1.0) is None

    def test_a_share_that_no_convolution_can_have_is_none(self) -> None:
        peak = 60.0  # of a machine that computed something else while it was measured; a step computes 6 × 10
        assert Speed(10, 1, peak).peak_share(1 / 2.2) == pytest.approx(2.2)
        assert Speed(10, 1, peak).peak_share(1 / 2.3) is None

    def test_a_step_of_products_alone_reaches_the_whole_peak(self) -> None:
        side, seconds = 512, 0.01
        peak_flops = 2 * side**3 / seconds  # one product a forward pass, two backward
        assert Speed(macs_total=side**3, batch_size=1, peak=peak_flops).peak_share(3 * seconds) == pytest.approx(1)


class TestMatmulPeak:
    def test_it_is_measured_once_and_then_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[tuple[str, int, str]] = []
        monkeypatch.setattr(peak, "measure_matmul", lambda *settings: calls.append(settings) or 1e9 + len(calls))
        assert matmul_peak("cpu", 1, "fp32", tmp_path) == matmul_peak("cpu", 1, "fp32", tmp_path) == 1e9 + 1
        assert calls == [("cpu", 1, "fp32")]
        assert matmul_peak("cpu", 2, "fp32", tmp_path) == 1e9 + 2
        assert matmul_peak("cpu", 1, "bf16", tmp_path) == 1e9 + 3
        assert len(list(tmp_path.iterdir())) == 3

    def test_nothing_is_measured_when_asked_not_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbidden(*settings: object) -> float:
            raise AssertionError("measured")

        monkeypatch.setattr(peak, "measure_matmul", forbidden)
        assert matmul_peak("cpu", 1, "fp32", tmp_path / "none", measure=False) is None
        assert not (tmp_path / "none").exists()

    def test_what_was_measured_is_found_when_asked_not_to_measure(self, tmp_path: Path) -> None:
        found = matmul_peak("cpu", 1, "fp32", tmp_path / "cache")
        assert found is not None and found == matmul_peak("cpu", 1, "fp32", tmp_path / "cache", measure=False)

    def test_another_device_is_measured_anew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        matmul_peak("cpu", 1, "fp32", tmp_path)
        monkeypatch.setattr(peak, "device_name", lambda device: "another / CPU\n2 GHz")
        assert matmul_peak("cpu", 1, "fp32", tmp_path, measure=False) is None
        matmul_peak("cpu", 1, "fp32", tmp_path)
        assert (tmp_path / "matmul-peak-another-cpu-2-ghz-1-threads-fp32.json").exists()

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"flops_per_second": null}', '{"flops_per_second": -1}', "{}"])
    def test_a_file_that_is_not_ours_is_measured_over(self, tmp_path: Path, text: str) -> None:
        matmul_peak("cpu", 1, "fp32", tmp_path)
        (path,) = tmp_path.iterdir()
        path.write_text(text)
        assert matmul_peak("cpu", 1, "fp32", tmp_path, measure=False) is None
        assert matmul_peak("cpu", 1, "fp32", tmp_path) == json.loads(path.read_text())["flops_per_second"]
        assert list(tmp_path.iterdir()) == [path]

    def test_a_full_disk_costs_the_file_and_neither_the_figure_nor_half_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            assert matmul_peak("cpu", 1, "fp32", tmp_path)
        assert list(tmp_path.iterdir()) == []
        assert matmul_peak("cpu", 1, "fp32", tmp_path)
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_folder_that_cannot_be_made_costs_the_file_alone(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert matmul_peak("cpu", 1, "fp32", tmp_path / "file" / "cache")


class TestMeasuring:
    def test_the_rate_is_that_of_a_product_timed_by_hand(self) -> None:
        one = torch.randn(128, 128)
        seconds = []
        for _ in range(200):
            started = time.perf_counter()
            one @ one
            seconds.append(time.perf_counter() - started)
        by_hand = 2 * 128**3 / min(seconds)
        assert 0.2 < measure_matmul("cpu", torch.get_num_threads(), "fp32") / by_hand < 5  # a busy machine is no clock

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_generators_threads_and_precision_are_left_as_they_were(self, precision: Precision) -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            before = torch.get_rng_state(), torch.get_num_threads(), torch.get_float32_matmul_precision()
            assert measure_matmul("cpu", 1, precision) > 0
            after = torch.get_rng_state(), torch.get_num_threads(), torch.get_float32_matmul_precision()
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(before[0], after[0]) and before[1:] == after[1:]

    def test_the_threads_asked_for_compute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []
        monkeypatch.setattr(peak, "_best_seconds", lambda *rest: seen.append(torch.get_num_threads()) or 1.0)
        measure_matmul("cpu", 2, "fp32")
        measure_matmul("cpu", 1, "fp32")
        assert seen == [2, 2, 1, 1]

    def test_this_machine_has_a_name(self) -> None:
        assert device_name("cpu")
