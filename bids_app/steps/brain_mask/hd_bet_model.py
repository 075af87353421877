"""A folder with HD-BET 2's weights: whether it is one, and the network and the preprocessing that it describes.

The network is built from `plans.json` by nnU-Net's own code, as every trainer of nnU-Net does that keeps its
architecture; nnU-Net's search for the trainer's class, which fails for trainers that it does not ship, is not needed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

CHECKPOINT = "fold_all/checkpoint_final.pth"  # HD-BET 2 is trained on all of its cases: one fold, called "all"
_REMEDIES = (
    "fetch HD-BET's weights with `bids_app fetch hd-bet`, name a folder that holds them with --hd-bet-weights, "
    "or choose another method with --brain-extraction synth"
)


class HdBetError(RuntimeError):
    """HD-BET cannot run; the message says why and what to do, for a user."""


def check_weights(weights: Path) -> None:
    """Check that a folder is a model of HD-BET's layout, in milliseconds; whether the numbers fit shows when loading.

    Raises
    ------
    HdBetError
        The folder or one of its three files is missing or unreadable, or it is not one image in, brain mask out.
    """
    if not weights.is_dir():
        raise HdBetError(f"{weights}: there is no such folder; {_REMEDIES}")
    missing = [name for name in ("dataset.json", "plans.json", CHECKPOINT) if not (weights / name).is_file()]
    if missing:
        raise HdBetError(f"{weights}: no {' and no '.join(missing)} in this folder of HD-BET weights; {_REMEDIES}")
    dataset, plans = _read_json(weights / "dataset.json"), _read_json(weights / "plans.json")
    channels, labels = dataset.get("channel_names"), dataset.get("labels")
    if not channels or not labels or len(channels) != 1 or len(labels) != 2:
        raise HdBetError(f"{weights}/dataset.json: not a network with one image in and a brain mask out; {_REMEDIES}")
    if not plans.get("configurations"):
        raise HdBetError(f"{weights}/plans.json: describes no nnU-Net configuration; {_REMEDIES}")
    try:
        whole = zipfile.is_zipfile(weights / CHECKPOINT)  # torch writes zip; its directory stands at the end
    except OSError as error:
        raise HdBetError(f"{weights / CHECKPOINT}: cannot be read ({error.strerror}); {_REMEDIES}") from error
    if not whole:
        raise HdBetError(f"{weights / CHECKPOINT}: damaged or cut off; {_REMEDIES}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HdBetError(f"{path}: cannot be read ({error}); {_REMEDIES}") from error
    if not isinstance(content, dict):
        raise HdBetError(f"{path}: not a JSON object; {_REMEDIES}")
    return content


@dataclass(frozen=True)
class Model:
    """What a folder of weights says.

    Attributes
    ----------
    plans, configuration
        nnU-Net's managers: how images are prepared and scores put back.
    mirror_axes
        Axes (z, y, x are 0, 1, 2) along which the network was trained to be mirrored.
    network
        In evaluation mode on the CPU, in float32; (n, 1, z, y, x) to (n, 2, z, y, x). None where it was not asked for.
    """

    plans: Any
    configuration: Any
    dataset: dict[str, Any]
    mirror_axes: tuple[int, ...]
    network: torch.nn.Module | None

    @property
    def patch(self) -> tuple[int, int, int]:
        """Edge lengths of a patch in voxels."""
        z, y, x = (int(edge) for edge in self.configuration.patch_size)
        return z, y, x

    def preprocess(self, volume: NDArray[np.float32], spacing: list[float]) -> tuple[NDArray[np.float32], dict]:
        """A volume (z, y, x; spacing in mm) as the network takes it, and what `export` needs to know."""
        properties: dict[str, Any] = {"spacing": spacing}
        preprocessor = self.configuration.preprocessor_class(verbose=False)
        data, _ = preprocessor.run_case_npy(
            volume[None], None, properties, self.plans, _ImageOnly(self.configuration), self.dataset
        )
        return np.ascontiguousarray(data[0], dtype=np.float32), properties

    def export(self, scores: NDArray[np.float32], properties: dict[str, Any]) -> NDArray[np.bool_]:
        """Where the score is positive, on the grid that `preprocess` was given.

        The difference of the two classes' logits is interpolated, one volume. Interpolation is linear, so its sign
        tells which of the two interpolated logits is larger.
        """
        configuration, plans = self.configuration, self.plans
        spacing = [properties["spacing"][axis] for axis in plans.transpose_forward]
        shape = properties["shape_after_cropping_and_before_resampling"]
        fine = configuration.resampling_fn_probabilities(scores[None], shape, configuration.spacing, spacing)
        result = np.zeros(properties["shape_before_cropping"], bool)
        result[tuple(slice(*limits) for limits in properties["bbox_used_for_cropping"])] = np.asarray(fine[0]) > 0
        return result.transpose(plans.transpose_backward)


class _ImageOnly:
    """A configuration of nnU-Net that resamples images alone: its preprocessing makes an empty segmentation too."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration

    def __getattr__(self, name: str) -> Any:
        return getattr(self._configuration, name)

    @staticmethod
    def resampling_fn_seg(segmentation: Any, *_: Any) -> Any:
        return segmentation


def load_model(weights: Path, *, with_network: bool = True) -> Model:
    """Read a folder of weights. The checkpoint is a pickle: one from an unknown source can run any code.

    Raises
    ------
    HdBetError
        See `check_weights`; or the weights do not fit the network that the folder describes.
    """
    check_weights(weights)
    with unchanged_surroundings():
        try:
            return _load(weights, with_network)
        except HdBetError:
            raise
        except Exception as error:  # pickle, zip, key, shape and import errors, all of them a broken or foreign folder
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise HdBetError(f"{weights}: cannot be loaded as HD-BET weights ({reason}); {_REMEDIES}") from error


def _load(weights: Path, with_network: bool) -> Model:
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    # mapped, not read: without the network only its few words are wanted
    checkpoint = torch.load(weights / CHECKPOINT, map_location="cpu", weights_only=False, mmap=True)
    dataset, plans = _read_json(weights / "dataset.json"), PlansManager(_read_json(weights / "plans.json"))
    configuration = plans.get_configuration(checkpoint["init_args"]["configuration"])
    if len(configuration.patch_size) != 3:
        raise HdBetError(f"{weights}/plans.json: not a three-dimensional network; {_REMEDIES}")
    network = None
    if with_network:
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            len(dataset["channel_names"]),
            len(dataset["labels"]),
            allow_init=False,
            deep_supervision=False,
        )
        network.load_state_dict(checkpoint["network_weights"])
        network.eval().requires_grad_(False)
    # nnU-Net finds these by name and imports them when they are first asked for: now, while its prints go nowhere
    _ = configuration.preprocessor_class, configuration.resampling_fn_data, configuration.resampling_fn_probabilities
    mirrored = checkpoint.get("inference_allowed_mirroring_axes")
    return Model(plans, configuration, dataset, tuple(mirrored or ()), network)


@contextlib.contextmanager
def unchanged_surroundings() -> Iterator[None]:
    """Standard output, environment and torch's threads kept: nnU-Net prints, and what it imports sets variables."""
    import torch

    before, threads = dict(os.environ), torch.get_num_threads()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            os.environ.clear()
            os.environ.update(before)
