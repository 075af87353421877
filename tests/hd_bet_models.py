"""Folders of weights in HD-BET's layout, around small networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bids_app.steps.brain_mask.hd_bet_model import CHECKPOINT

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
import os

import torch

class Shift(torch.nn.Module):
    def __init__(self, input_channels, num_classes, shift, built="", deep_supervision=False):
        super().__init__()
        if built:
            with open(built, "a") as file:
                print(os.getpid(), file=file)
        self.shift = shift
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        moved = self.scale * torch.roll(x, self.shift, dims=(2, 3, 4))
        return torch.cat([-moved, moved], dim=1)
"""


def write_model(
    folder: Path,
    network_class: str,
    arguments: dict[str, Any],
    imported: list[str],
    patch: list[int],
    spacing_mm: float = 1.0,
) -> Path:
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
        "spacing": [spacing_mm] * 3,
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
    torch.save(checkpoint, folder / CHECKPOINT)
    return folder


def write_unet(folder: Path, **arguments: Any) -> Path:
    """A small U-Net with random weights: its masks are noise."""
    return write_model(folder, UNET_CLASS, arguments or UNET, IMPORTED, [16, 24, 24])


def write_shift(folder: Path, shift: list[int], spacing_mm: float = 1.0, built: str = "") -> Path:
    """The network whose answer is known, its module beside the model: that folder has to be on Python's path.

    Each process that builds it adds its number to the file `built`.
    """
    (folder / "shift_network.py").write_text(SHIFT_NETWORK)
    arguments = {"shift": shift, "built": built}
    return write_model(folder / "model", "shift_network.Shift", arguments, [], [48, 48, 48], spacing_mm)
