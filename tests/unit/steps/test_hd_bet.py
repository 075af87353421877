"""HD-BET in process: the voxels that the network means, nnU-Net's own result, one load, clear errors."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hd_bet_models import UNET, write_shift, write_unet
from scipy import ndimage

from bids_app.steps.brain_mask import hd_bet, hd_bet_engines
from bids_app.steps.brain_mask.hd_bet_model import load_model
from bids_app.steps.images import conform, mask_of, new_image

#: The reference, whatever else is installed.
load = functools.partial(hd_bet.load, engine="torch-float32")


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_unet(tmp_path_factory.mktemp("unet") / "model")


@pytest.fixture(scope="module")
def shift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model whose brain is what is bright, 5 mm further up, 3 mm further to the front, 2 mm further to the right."""
    folder = tmp_path_factory.mktemp("shift")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield write_shift(folder, [5, 3, 2])


def blob(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    grid = np.indices(shape, dtype=float)
    distance = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True))
    return distance < radius**2


def head(bright: np.ndarray) -> nib.Nifti1Image:
    """An image at 1 mm; its background is not 0, at which nnU-Net would crop."""
    return new_image(np.where(bright, 100, 10).astype(np.float32), np.eye(4))


def test_the_mask_lies_where_the_network_sees_it_whatever_the_orientation_of_the_file(shift: Path) -> None:
    bright = blob((40, 36, 32), (14, 16, 12), 6)
    psr = head(bright).as_reoriented(nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt("PSR")
    ))  # fmt: skip
    assert nib.aff2axcodes(psr.affine) == ("P", "S", "R")

    mask = load(shift).mask(conform(psr))

    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mask.affine, np.eye(4))
    np.testing.assert_array_equal(mask_of(mask), np.roll(bright, (2, 3, 5), axis=(0, 1, 2)))


def test_a_left_handed_file_is_shown_as_it_is_stored(shift: Path) -> None:
    bright = blob((40, 36, 32), (18, 16, 12), 6)
    las = head(bright).as_reoriented([[0, -1], [1, 1], [2, 1]])
    assert (hd_bet.is_left_handed(las), hd_bet.is_left_handed(head(bright))) == (True, False)

    mask = load(shift).mask(conform(las), left_handed=True)

    # two voxels further along the first axis as stored, which is to the left
    np.testing.assert_array_equal(mask_of(mask), np.roll(bright, (-2, 3, 5), axis=(0, 1, 2)))


def test_the_largest_component_is_kept(shift: Path) -> None:
    large, small = blob((40, 36, 32), (14, 16, 12), 6), blob((40, 36, 32), (32, 16, 12), 3)
    image = head(large | small)
    engine = load(shift)

    everything = np.roll(large | small, (2, 3, 5), axis=(0, 1, 2))
    np.testing.assert_array_equal(engine.predict(image), everything)
    np.testing.assert_array_equal(mask_of(engine.mask(image)), np.roll(large, (2, 3, 5), axis=(0, 1, 2)))


def test_mirroring_averages_the_eight_views(shift: Path) -> None:
    image = head(blob((40, 36, 32), (20, 18, 16), 7))
    voxels = np.asanyarray(image.dataobj)
    score = (voxels - voxels.mean()) / voxels.std()
    moves = [(x, y, z) for x in (2, -2) for y in (3, -3) for z in (5, -5)]
    average = np.mean([np.roll(score, move, axis=(0, 1, 2)) for move in moves], axis=0)

    mask = load(shift, mirroring=True).predict(image)

    clear = np.abs(average) > 1e-5
    np.testing.assert_array_equal(mask[clear], average[clear] > 0)
    assert not np.array_equal(mask, load(shift).predict(image))


def test_it_agrees_with_nnunet_reading_and_writing_files(
    unet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from nnunetv2.inference import predict_from_raw_data
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    generator = np.random.default_rng(0)
    voxels = ndimage.gaussian_filter(generator.normal(size=(34, 29, 11)), 1.5).astype(np.float32)
    rotation = nib.eulerangles.euler2mat(0.1, -0.05, 0.08)  # a tilted, thick-slice acquisition
    affine = nib.affines.from_matvec(rotation @ np.diag([1.2, 0.9, 3.5]), [-20, -15, 7])
    nib.save(new_image(voxels, affine), tmp_path / "image.nii.gz")
    image = conform(nib.load(tmp_path / "image.nii.gz"))
    ours = load(unet).predict(image)
    theirs = with_nnunet(unet, tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz")
    assert 0.1 < theirs.mean() < 0.9
    assert dice(ours, theirs) >= 0.999  # of noise, a voxel in a thousand is so near to 0 that half precision shows

    monkeypatch.setattr(torch, "half", torch.float32)
    single = functools.partial(compute_gaussian, dtype=torch.float32)
    monkeypatch.setattr(predict_from_raw_data, "compute_gaussian", single)
    single.cache_clear = compute_gaussian.cache_clear
    assert dice(ours, with_nnunet(unet, tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz")) >= 0.9999


def test_preprocessing_is_nnunets_own(unet: Path) -> None:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    model = load_model(unet)
    volume = np.zeros((20, 18, 9), np.float32)
    volume[3:17, 2:16, 1:8] = np.random.default_rng(1).normal(100, 20, (14, 14, 7))
    properties = {"spacing": [3.0, 0.8, 1.3]}
    theirs, _ = DefaultPreprocessor(verbose=False).run_case_npy(
        volume[None], None, properties, model.plans, model.configuration, model.dataset
    )

    ours, told = model.preprocess(volume, [3.0, 0.8, 1.3])

    assert ours.shape == (42, 11, 9)
    np.testing.assert_array_equal(ours, theirs[0])
    assert told == properties


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def with_nnunet(model: Path, image: Path, mask: Path) -> np.ndarray:
    """A mask by nnU-Net's own predictor, from file to file."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), "all")
    predictor.predict_from_files_sequential([[str(image)]], [str(mask)], save_probabilities=False)
    return mask_of(nib.load(mask))


def test_a_model_is_loaded_once_for_all_series(unet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    import torch

    folder = Path(shutil.copytree(unet, tmp_path / "model"))
    loaded = []
    original = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: loaded.append(a) or original(*a, **k))
    image = head(blob((20, 22, 18), (10, 10, 10), 5))
    threads = torch.get_num_threads()

    masks = [load(folder, threads=n).mask(image) for n in (1, 2, 1)]

    assert len(loaded) == 1
    assert torch.get_num_threads() == threads
    assert all(np.array_equal(mask_of(mask), mask_of(masks[0])) for mask in masks)


def test_a_trainer_that_nnunet_does_not_know_is_not_needed(unet: Path, tmp_path: Path) -> None:
    import shutil

    import torch

    folder = Path(shutil.copytree(unet, tmp_path / "model"))
    checkpoint = torch.load(folder / hd_bet.CHECKPOINT, weights_only=False)
    torch.save({**checkpoint, "trainer_name": "nnUNetTrainerOfSomeoneElse"}, folder / hd_bet.CHECKPOINT)
    image = head(blob((20, 22, 18), (10, 10, 10), 5))

    np.testing.assert_array_equal(load(folder).predict(image), load(unet).predict(image))


def _cut_checkpoint(folder: Path) -> None:
    whole = (folder / hd_bet.CHECKPOINT).read_bytes()
    (folder / hd_bet.CHECKPOINT).write_bytes(whole[: len(whole) // 2])


def _edit(name: str, **changes: object):
    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **changes}))

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: folder.rename(folder.with_name("elsewhere")), "no such folder"),
        (lambda folder: (folder / "plans.json").unlink(), "no plans.json"),
        (lambda folder: (folder / hd_bet.CHECKPOINT).unlink(), "no fold_all/checkpoint_final.pth"),
        (lambda folder: (folder / "dataset.json").write_text("{"), "dataset.json: cannot be read"),
        (_edit("dataset.json", channel_names={"0": "T1w", "1": "T2w"}), "one image in"),
        (_edit("dataset.json", labels={"background": 0, "a": 1, "b": 2}), "one image in"),
        (_edit("plans.json", configurations={}), "no nnU-Net configuration"),
        (_cut_checkpoint, "damaged or cut off"),
    ],
)
def test_a_broken_folder_is_named_with_what_to_do(unet: Path, tmp_path: Path, damage, said: str) -> None:
    import shutil

    folder = Path(shutil.copytree(unet, tmp_path / "model"))
    hd_bet.check_weights(folder)
    damage(folder)
    with pytest.raises(hd_bet.HdBetError, match=said) as caught:
        hd_bet.check_weights(folder)
    for part in (str(folder), "bids_app fetch hd-bet", "--hd-bet-weights"):
        assert part in str(caught.value)
    with pytest.raises(hd_bet.HdBetError, match=said):
        load(folder)


def test_weights_of_another_shape_are_an_error_when_loaded(unet: Path, tmp_path: Path) -> None:
    wider = write_unet(tmp_path / "wider", **{**UNET, "features_per_stage": [6, 12]})
    (wider / "plans.json").write_text((unet / "plans.json").read_text())
    with pytest.raises(hd_bet.HdBetError, match="cannot be loaded"):
        load(wider)


def test_a_device_that_is_not_there_is_said_at_once(unet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(hd_bet.HdBetError, match=r"no GPU.*--device cpu"):
            load(unet, device=device)
    with pytest.raises(hd_bet.HdBetError, match="no such device"):
        load(unet, device="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [hd_bet.check_device(name) for name in ("cuda", "cuda:1", "cpu")] == ["cuda", "cuda:1", "cpu"]
    with pytest.raises(hd_bet.HdBetError, match="has 2 GPU"):
        hd_bet.check_device("cuda:2")


def test_contrasts_that_hd_bet_was_trained_on() -> None:
    assert [hd_bet.trained_on(suffix) for suffix in ("T1w", "T2w", "FLAIR")] == [True] * 3
    assert not any(hd_bet.trained_on(suffix) for suffix in ("angio", "swi", "T2starw", "PDw", "UNIT1", "dwi"))


def test_loading_and_predicting_leaves_the_process_as_it_was(unet: Path) -> None:
    program = f"""
import logging, os, sys, warnings
from pathlib import Path
import numpy as np
import torch  # asks for its threads when it is imported
from bids_app.steps.brain_mask import hd_bet, largest_component
from bids_app.steps.images import new_image
image = new_image(np.random.default_rng(0).normal(size=(20, 22, 18)).astype(np.float32), np.eye(4))
largest_component(image.get_fdata() > 0)

def state():
    root = logging.getLogger()
    return (dict(os.environ), sys.stdout, sys.stderr, torch.get_num_threads(), list(warnings.filters),
            root.level, list(root.handlers), root.manager.disable, os.getcwd(), torch.is_grad_enabled())

before = state()
for engine in ("torch-float32", "auto"):
    hd_bet.load(Path({str(unet)!r}), engine=engine, threads=2).mask(image)
for one, other in zip(before, state(), strict=True):
    assert one == other, (one, other)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_openvino_gives_the_same_scores(unet: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install bids_app[openvino])")
    data = np.random.default_rng(0).normal(size=(20, 30, 26)).astype(np.float32)
    scores = [hd_bet.Predictor(unet, engine=f"{name}-float32", mirroring=True)(data) for name in ("torch", "openvino")]
    assert scores[0].std() > 0.05
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)


def test_openvino_normalises_whole_patches_as_torch_does() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install bids_app[openvino])")
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.InstanceNorm3d(2, affine=True)).eval()
    patch = (96, 160, 160)  # of HD-BET's order: sums in float32 go astray over millions of voxels
    image = 3 + torch.rand(1, 1, *patch)
    right = hd_bet_engines.torch_network(network.double(), "torch-float32")(image.double())
    found = hd_bet_engines.openvino_network(network.float(), "openvino-float32", patch, 2)(image)
    assert right.std() > 0.1
    np.testing.assert_allclose(found, right, atol=0.05)  # 1.7 when instance norm is left to OpenVINO


def test_importing_openvino_calls_nobody(unet: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install bids_app[openvino])")
    code = (
        "import socket, sys\n"
        "called = []\n"
        "socket.socket.connect = lambda self, address: called.append(address)\n"
        "socket.getaddrinfo = lambda *where, **more: called.append(where) or []\n"
        "from pathlib import Path\n"
        "from bids_app.steps.brain_mask.hd_bet import Predictor\n"
        f"Predictor(Path({str(unet)!r}), engine='openvino-float32')\n"
        "import openvino\n"
        "print(called, sorted(name for name in sys.modules if name.startswith('openvino_telemetry')))\n"
    )
    # a name of CI's would switch OpenVINO's telemetry off by itself
    named = {name: value for name, value in os.environ.items() if name.lower() not in ("ci", "tf_build")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=named, check=True)
    assert done.stdout == "[] []\n"


def test_a_network_that_openvino_cannot_take_is_said_with_what_to_do() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install bids_app[openvino])")
    import torch

    class Untraceable(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(x.numpy() * 2)

    with pytest.raises(hd_bet.HdBetError, match=r"cannot take this network.*--hd-bet-engine torch-float32"):
        hd_bet_engines.openvino_network(Untraceable(), "openvino-float32", (8, 8, 8), 1)


@pytest.mark.parametrize("openvino", [False, True])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_engine_is_the_fastest_that_is_there(
    openvino: bool, bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"openvino": object()} if openvino else {}
    monkeypatch.setattr(hd_bet_engines.importlib.util, "find_spec", found.get)
    monkeypatch.setattr(hd_bet_engines, "processor_has_bfloat16", lambda: bfloat16)
    choose = hd_bet_engines.choose_engine
    best = f"{'openvino' if openvino else 'torch'}-{'bfloat16' if bfloat16 else 'float32'}"
    assert choose("cpu") == best
    assert choose("cuda:1") == "torch-float16"
    assert choose("cpu", "torch-float32") == "torch-float32"
    for name, there in {"torch-bfloat16": bfloat16, "openvino-float32": openvino}.items():
        if there:
            assert choose("cpu", name) == name
        else:
            with pytest.raises(hd_bet.HdBetError, match=name):
                choose("cpu", name)
    with pytest.raises(hd_bet.HdBetError, match="--device cpu"):
        choose("cuda", "openvino-float32")
    with pytest.raises(hd_bet.HdBetError, match="no such engine"):
        choose("cpu", "tensorflow")


def test_cuda_is_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert hd_bet_engines.devices("cuda") == ("cuda:0", "cuda:1", "cuda:2")
    assert [hd_bet_engines.devices(name) for name in ("cuda:1", "cpu")] == [("cuda:1",), ("cpu",)]


@pytest.mark.parametrize(("free_gb", "patches"), [(1.0, 1), (3.9, 1), (4.1, 2), (11, 5), (140, 16)])
def test_a_batch_fills_the_memory_of_a_gpu(free_gb: float, patches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a made-up GPU on which a patch takes 1.6 GB and the weights 0.5 GB."""
    import torch

    for name, answer in {
        "reset_peak_memory_stats": None,
        "memory_allocated": int(0.5e9),
        "max_memory_allocated": int(2.1e9),
        "empty_cache": None,
        "mem_get_info": (int(free_gb * 1e9), int(150e9)),
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *shape, **_: zeros(*shape))
    assert hd_bet_engines.fitting_patches(lambda x: x[:, 0], (4, 4, 4), "cuda:0") == patches
    assert hd_bet_engines.fitting_patches(lambda x: x[:, 0], (4, 4, 4), "cpu") == 1
