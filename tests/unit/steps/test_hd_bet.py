"""HD-BET in process: the voxels that the network means, nnU-Net's own result, one load, clear errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_app.steps.brain_mask import hd_bet
from bids_app.steps.images import conform, mask_of, new_image

UNET = {
    "n_stages": 2,
    "features_per_stage": [4, 8],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 2,
    "strides": [[1, 1, 1], [2, 2, 2]],
    "n_conv_per_stage": [1, 1],
    "n_conv_per_stage_decoder": [1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]
UNET_CLASS = "dynamic_network_architectures.architectures.unet.PlainConvUNet"

# What is brighter than the mean, moved by a vector (z, y, x) in voxels of 1 mm: a network whose answer is known.
SHIFT_NETWORK = """
import torch

class Shift(torch.nn.Module):
    def __init__(self, input_channels, num_classes, shift, deep_supervision=False):
        super().__init__()
        self.shift = shift
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        moved = self.scale * torch.roll(x, self.shift, dims=(2, 3, 4))
        return torch.cat([-moved, moved], dim=1)
"""


def write_model(folder: Path, network_class: str, arguments: dict, imported: list[str], patch: list[int]) -> Path:
    """A model folder of HD-BET's layout around a network with the weights that it starts with."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    torch.manual_seed(3)
    network = get_network_from_plans(network_class, arguments, imported, 1, 2, deep_supervision=False)
    resampling = {"order_z": 0, "force_separate_z": None}
    function = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": network_class,
            "arch_kwargs": arguments,
            "_kw_requires_import": imported,
        },
        "batch_dice": False,
    }
    for name, is_seg, order in (("data", False, 3), ("seg", True, 1), ("probabilities", False, 1)):
        configuration[f"resampling_fn_{name}"] = function
        configuration[f"resampling_fn_{name}_kwargs"] = {"is_seg": is_seg, "order": order, **resampling}
    plans = {
        "dataset_name": "Dataset000_TEST",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner",
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {"3d_fullres": configuration},
    }
    dataset = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "brain": 1}, "file_ending": ".nii.gz"}
    (folder / "fold_all").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, folder / hd_bet.CHECKPOINT)
    return folder


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("unet") / "model", UNET_CLASS, UNET, IMPORTED, [16, 24, 24])


@pytest.fixture(scope="module")
def shift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model whose brain is what is bright, 5 mm further up, 3 mm further to the front, 2 mm further to the right."""
    folder = tmp_path_factory.mktemp("shift")
    (folder / "shift_network.py").write_text(SHIFT_NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield write_model(folder / "model", "shift_network.Shift", {"shift": [5, 3, 2]}, [], [48, 48, 48])


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

    mask = hd_bet.load(shift).mask(conform(psr))

    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mask.affine, np.eye(4))
    np.testing.assert_array_equal(mask_of(mask), np.roll(bright, (2, 3, 5), axis=(0, 1, 2)))


def test_a_left_handed_file_is_shown_as_it_is_stored(shift: Path) -> None:
    bright = blob((40, 36, 32), (18, 16, 12), 6)
    las = head(bright).as_reoriented([[0, -1], [1, 1], [2, 1]])
    assert (hd_bet.is_left_handed(las), hd_bet.is_left_handed(head(bright))) == (True, False)

    mask = hd_bet.load(shift).mask(conform(las), left_handed=True)

    # two voxels further along the first axis as stored, which is to the left
    np.testing.assert_array_equal(mask_of(mask), np.roll(bright, (-2, 3, 5), axis=(0, 1, 2)))


def test_the_largest_component_is_kept(shift: Path) -> None:
    large, small = blob((40, 36, 32), (14, 16, 12), 6), blob((40, 36, 32), (32, 16, 12), 3)
    image = head(large | small)
    engine = hd_bet.load(shift)

    everything = np.roll(large | small, (2, 3, 5), axis=(0, 1, 2))
    np.testing.assert_array_equal(engine.predict(image), everything)
    np.testing.assert_array_equal(mask_of(engine.mask(image)), np.roll(large, (2, 3, 5), axis=(0, 1, 2)))


def test_mirroring_averages_the_eight_views(shift: Path) -> None:
    image = head(blob((40, 36, 32), (20, 18, 16), 7))
    voxels = np.asanyarray(image.dataobj)
    score = (voxels - voxels.mean()) / voxels.std()
    moves = [(x, y, z) for x in (2, -2) for y in (3, -3) for z in (5, -5)]
    average = np.mean([np.roll(score, move, axis=(0, 1, 2)) for move in moves], axis=0)

    mask = hd_bet.load(shift, mirroring=True).predict(image)

    clear = np.abs(average) > 0.01  # nnU-Net adds up in half precision
    np.testing.assert_array_equal(mask[clear], average[clear] > 0)
    assert not np.array_equal(mask, hd_bet.load(shift).predict(image))


def test_it_agrees_with_nnunet_reading_and_writing_files(unet: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    voxels = ndimage.gaussian_filter(generator.normal(size=(34, 29, 11)), 1.5).astype(np.float32)
    rotation = nib.eulerangles.euler2mat(0.1, -0.05, 0.08)  # a tilted, thick-slice acquisition
    affine = nib.affines.from_matvec(rotation @ np.diag([1.2, 0.9, 3.5]), [-20, -15, 7])
    nib.save(new_image(voxels, affine), tmp_path / "image.nii.gz")
    image = conform(nib.load(tmp_path / "image.nii.gz"))
    engine = hd_bet.load(unet)

    engine._predictor.list_of_parameters = [engine._predictor.network.state_dict()]
    engine._predictor.use_mirroring = False
    engine._predictor.predict_from_files_sequential(
        [[str(tmp_path / "image.nii.gz")]], [str(tmp_path / "mask.nii.gz")], save_probabilities=False
    )
    theirs = mask_of(nib.load(tmp_path / "mask.nii.gz"))

    assert 0.1 < theirs.mean() < 0.9
    np.testing.assert_array_equal(engine.predict(image), theirs)


def test_a_model_is_loaded_once_for_all_series(unet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    import torch

    folder = Path(shutil.copytree(unet, tmp_path / "model"))
    loaded = []
    original = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: loaded.append(a) or original(*a, **k))
    image = head(blob((20, 22, 18), (10, 10, 10), 5))
    threads = torch.get_num_threads()

    masks = [hd_bet.load(folder, threads=n).mask(image) for n in (1, 2, 1)]

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

    np.testing.assert_array_equal(hd_bet.load(folder).predict(image), hd_bet.load(unet).predict(image))


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
        hd_bet.load(folder)


def test_weights_of_another_shape_are_an_error_when_loaded(unet: Path, tmp_path: Path) -> None:
    wider = write_model(tmp_path / "wider", UNET_CLASS, {**UNET, "features_per_stage": [6, 12]}, IMPORTED, [16, 24, 24])
    (wider / "plans.json").write_text((unet / "plans.json").read_text())
    with pytest.raises(hd_bet.HdBetError, match="cannot be loaded"):
        hd_bet.load(wider)


def test_a_device_that_is_not_there_is_said_at_once(unet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(hd_bet.HdBetError, match=r"no GPU.*--device cpu"):
            hd_bet.load(unet, device=device)
    with pytest.raises(hd_bet.HdBetError, match="no such device"):
        hd_bet.load(unet, device="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [hd_bet.check_device(name) for name in ("cuda", "cuda:1", "cpu")] == ["cuda", "cuda:1", "cpu"]
    with pytest.raises(hd_bet.HdBetError, match="has 2 GPU"):
        hd_bet.check_device("cuda:2")


def test_contrasts_that_hd_bet_was_trained_on() -> None:
    assert [hd_bet.trained_on(suffix) for suffix in ("T1w", "T2w", "FLAIR")] == [True] * 3
    assert not any(hd_bet.trained_on(suffix) for suffix in ("angio", "swi", "T2starw", "PDw", "UNIT1", "dwi"))


@pytest.mark.slow
def test_loading_leaves_standard_output_and_environment_alone(unet: Path) -> None:
    program = f"""
import os, sys
from pathlib import Path
from bids_app.steps.brain_mask import hd_bet
import torch
threads, stdout = torch.get_num_threads(), sys.stdout
before = dict(os.environ)
hd_bet.load(Path({str(unet)!r}))
assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
assert sys.stdout is stdout
assert torch.get_num_threads() == threads
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
