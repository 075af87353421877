"""The processes of the GPUs: one each, shared by all workers, started when needed, replaced when they end.

The GPUs are made up, the processes are real: what predicts doubles what it is given.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hd_bet_models import write_unet

from bids_app.settings import STEPS, Settings
from bids_app.steps.brain_mask import hd_bet
from bids_app.steps.brain_mask.hd_bet_model import HdBetError
from bids_app.steps.images import mask_of
from bids_app.workflow import run
from bids_app.workflow.context import Extraction, RunContext
from bids_app.workflow.gpu import gpu_processes, hd_bet_loader, predict_on_gpu


def _prepare() -> None:
    pass


def _double(folder: Path, others: int, data: np.ndarray) -> np.ndarray:
    """Twice the data; the first time not before as many other processes are at work too."""
    (folder / f"at-work-{os.getpid()}").touch()
    end = time.monotonic() + 120
    while len(list(folder.glob("at-work-*"))) < 1 + others and time.monotonic() < end:
        time.sleep(0.01)
    if data[0, 0, 0] == -1:
        raise ValueError("a broken driver")
    if data[0, 0, 0] == -2:
        os.kill(os.getpid(), signal.SIGKILL)
    if data[0, 0, 0] == -3:
        raise HdBetError("cuda:0 has not enough memory")
    return data * 2


def _load(folder: Path, others: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    with (folder / "loaded").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return partial(_double, folder, others)


def _fail() -> Callable[[np.ndarray], np.ndarray]:
    raise HdBetError("these weights are broken")


def _loaded(folder: Path) -> list[str]:
    return (folder / "loaded").read_text().split()


def _data(value: float) -> np.ndarray:
    return np.full((3, 2, 4), value, np.float32)


def test_two_gpus_share_the_series_and_load_once_each(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 60) / ("y" * 60) / "gpu"  # longer than a socket's path can be
    place.parent.mkdir(parents=True)
    with (
        gpu_processes(place, [partial(_load, tmp_path, 1)] * 2, _prepare),
        ThreadPoolExecutor(12) as workers,
    ):
        results = list(workers.map(lambda value: predict_on_gpu(place, _data(value)), range(12)))
        processes = _loaded(tmp_path)
    for value, result in enumerate(results):
        np.testing.assert_array_equal(result, _data(2 * value))
    assert len(processes) == len(set(processes)) == 2
    assert not any(Path(f"/proc/{number}").exists() for number in processes)
    assert not place.exists()


def test_nothing_is_started_for_a_run_without_work(tmp_path: Path) -> None:
    with gpu_processes(tmp_path / "gpu", [partial(_load, tmp_path)], _prepare):
        pass
    assert not (tmp_path / "loaded").exists()


def test_what_ends_costs_its_own_series_and_three_times_the_gpu(tmp_path: Path) -> None:
    place = tmp_path / "gpu"
    with gpu_processes(place, [partial(_load, tmp_path)], _prepare):
        with pytest.raises(HdBetError, match="cuda:0 has not enough memory"):
            predict_on_gpu(place, _data(-3))
        assert predict_on_gpu(place, _data(4))[0, 0, 0] == 8
        assert len(_loaded(tmp_path)) == 1
        with pytest.raises(HdBetError, match="ValueError: a broken driver"):
            predict_on_gpu(place, _data(-1))
        assert predict_on_gpu(place, _data(5))[0, 0, 0] == 10
        with pytest.raises(HdBetError, match="has ended"):
            predict_on_gpu(place, _data(-2))
        assert predict_on_gpu(place, _data(6))[0, 0, 0] == 12
        assert len(_loaded(tmp_path)) == 3
        for value in (-2, 7):
            with pytest.raises(HdBetError, match=r"has ended.*--device cpu"):
                predict_on_gpu(place, _data(value))
    with pytest.raises(HdBetError, match="has ended"):
        predict_on_gpu(place, _data(8))


def test_what_cannot_be_loaded_is_said_of_every_series(tmp_path: Path) -> None:
    with gpu_processes(tmp_path / "gpu", [_fail], _prepare):
        for _ in range(4):
            with pytest.raises(HdBetError, match="these weights are broken"):
                predict_on_gpu(tmp_path / "gpu", _data(1))


def test_a_mask_is_the_same_wherever_it_is_predicted(tmp_path: Path) -> None:
    weights = write_unet(tmp_path / "model")
    voxels = np.random.default_rng(0).normal(100, 20, (30, 26, 12)).astype(np.float32)
    image = nib.Nifti1Image(voxels, np.diag([1.0, 0.9, 2.5, 1]))
    here = hd_bet.load(weights, engine="torch-float32").mask(image)
    place = tmp_path / "gpu"
    with gpu_processes(place, [hd_bet_loader(weights, "cpu", "torch-float32", False, 1)], _prepare):
        there = hd_bet.load(weights, device="cuda", scores=partial(predict_on_gpu, place)).mask(image)
    assert 0.05 < mask_of(here).mean() < 0.95
    np.testing.assert_array_equal(mask_of(there), mask_of(here))


def test_a_run_has_them_where_hd_bet_is_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "devices", lambda _device: ("cuda:0", "cuda:1"))
    settings = Settings(tmp_path, tmp_path / "out")
    on_gpu = Extraction("hd-bet", weights=tmp_path, device="cuda", engine="torch-float16")
    on_cpu = Extraction("hd-bet", weights=tmp_path, device="cpu", engine="torch-float32")
    elsewhere = replace(settings, nipype_plugin_file=tmp_path / "slurm.yml")  # nodes on machines without this socket

    def place(extraction: Extraction, settings: Settings) -> Path | None:
        context = RunContext(settings, dict.fromkeys(STEPS, "1"), extraction, extraction)
        with run._gpus(context, tmp_path) as told:
            assert told.gpu is None or stat.S_ISSOCK(told.gpu.stat().st_mode)
            return told.gpu

    assert place(on_gpu, settings) == tmp_path / "gpu"
    assert not (tmp_path / "gpu").exists()
    assert [place(on_cpu, settings), place(on_gpu, elsewhere), place(Extraction("synth"), settings)] == [None] * 3
