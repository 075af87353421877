"""Brain masks by HD-BET 2, in process, with the model kept loaded.

HD-BET 2 is one nnU-Net; its command line hands files to nnU-Net, which starts up to thirteen helper processes for them.
Here the same nnU-Net code loads the same folder and sees the same array, without files and without processes.

Papers: Isensee et al. 2019, Human Brain Mapping 40:4952 (HD-BET); Isensee et al. 2021, Nature Methods 18:203 (nnU-Net).
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.brain_mask import torch_threads
from bids_app.steps.images import Image, array_of, grid_affine, like, spacing_mm

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

VERSION = "1"

CHECKPOINT = "fold_all/checkpoint_final.pth"  # HD-BET 2 is trained on all of its cases: one fold, called "all"
_REMEDIES = (
    "fetch HD-BET's weights with `bids_app fetch hd-bet`, name a folder that holds them with --hd-bet-weights, "
    "or choose another method with --brain-extraction template"
)
_TILE_STEP = 0.5  # share of a patch between two neighbouring ones; HD-BET's own


class HdBetError(RuntimeError):
    """HD-BET cannot run; the message says why and what to do, for a user."""


def trained_on(suffix: str) -> bool:
    """Whether HD-BET was trained on images of this BIDS suffix: T1w (with and without contrast agent), T2w, FLAIR."""
    return suffix in {"T1w", "T2w", "FLAIR"}


def is_left_handed(raw: Any) -> bool:
    """Whether the axes of an image as stored are left-handed ("radiological", such as LAS), not right-handed (RAS)."""
    return bool(np.linalg.det(grid_affine(raw)[:3, :3]) < 0)


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


def load(weights: Path, *, device: str = "cpu", mirroring: bool = False, threads: int = 1) -> HdBet:
    """HD-BET from a folder of weights; a process loads a folder once for each device, however often this is called."""
    return HdBet(weights, device=device, mirroring=mirroring, threads=threads)


class HdBet:
    """HD-BET 2, loaded.

    Parameters
    ----------
    weights
        Folder with `dataset.json`, `plans.json` and `fold_all/checkpoint_final.pth`. The checkpoint is a pickle:
        one from an unknown source can run any code.
    device
        `cpu`, `cuda` or `cuda:N`.
    mirroring
        Average the eight mirrored views, as HD-BET does unless told otherwise; eight times the time.
    threads
        Processor threads, while predicting only.

    Raises
    ------
    HdBetError
        The weights cannot be loaded (see `check_weights`), or there is no such device.
    """

    def __init__(self, weights: Path, *, device: str = "cpu", mirroring: bool = False, threads: int = 1) -> None:
        self.mirroring = mirroring
        self.threads = max(1, threads)
        self._predictor = _predictor(Path(weights).resolve(), check_device(device))

    def mask(self, image: Any, *, left_handed: bool = False) -> Image:
        """Brain mask (uint8, the grid of `image`) of a conformed head: the largest connected component of `predict`."""
        return like(_largest_component(self.predict(image, left_handed=left_handed)).astype(np.uint8), image)

    def predict(self, image: Any, *, left_handed: bool = False) -> NDArray[np.bool_]:
        """The voxels of a conformed head that the network takes for brain, as HD-BET 2 itself writes them.

        Parameters
        ----------
        left_handed
            Show the network the head from right to left (LAS), as HD-BET's command line does with a file stored so
            (see `is_left_handed`); its users are told to reorient files in a way that keeps the handedness.

        Raises
        ------
        HdBetError
            The device has not enough memory.
        """
        import torch
        from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

        predictor = self._predictor
        predictor.use_mirroring = self.mirroring
        plans, configuration = predictor.plans_manager, predictor.configuration_manager
        # nnU-Net takes the axes in the order in which SimpleITK gives them, z y x, and pays no attention to directions
        right = slice(None, None, -1 if left_handed else 1)
        volume = array_of(image)[right].transpose(2, 1, 0)[None]
        properties: dict[str, Any] = {"spacing": list(spacing_mm(image)[::-1])}
        with torch_threads(self.threads):
            preprocessor = configuration.preprocessor_class(verbose=False)
            data, _ = preprocessor.run_case_npy(volume, None, properties, plans, configuration, predictor.dataset_json)
            try:
                logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data)).cpu()
            except torch.OutOfMemoryError as error:
                raise HdBetError(f"{predictor.device} has not enough memory for HD-BET; use --device cpu") from error
            labels = convert_predicted_logits_to_segmentation_with_correct_shape(
                logits, plans, configuration, predictor.label_manager, properties, num_threads_torch=self.threads
            )
        return np.ascontiguousarray(labels.transpose(2, 1, 0)[right] > 0)


def check_device(device: str) -> str:
    """The device (`cpu`, `cuda` or `cuda:N`), which this machine has. Raises HdBetError where it has not."""
    import torch

    try:
        kind, index = torch.device(device).type, torch.device(device).index
    except RuntimeError:
        raise HdBetError(f"{device}: no such device; use cpu, cuda or cuda:N") from None
    if kind not in ("cpu", "cuda"):
        raise HdBetError(f"{device}: HD-BET runs here on cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise HdBetError(f"{device}: this machine has no GPU that torch {torch.__version__} can use; use --device cpu")
    if kind == "cuda" and index is not None and index >= torch.cuda.device_count():
        raise HdBetError(f"{device}: this machine has {torch.cuda.device_count()} GPU(s), counted from cuda:0")
    return device


@functools.cache
def _predictor(weights: Path, device: str) -> nnUNetPredictor:
    """nnU-Net's predictor with the network of a model folder in evaluation mode on its device."""
    check_weights(weights)
    import torch

    with _unchanged_surroundings():
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(
            tile_step_size=_TILE_STEP,
            use_gaussian=True,
            use_mirroring=False,
            device=torch.device(device),
            allow_tqdm=False,
        )
        try:
            _initialise(predictor, weights)
        except HdBetError:
            raise
        except Exception as error:  # pickle, zip, key, shape and import errors, all of them a broken or foreign folder
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise HdBetError(f"{weights}: cannot be loaded as HD-BET weights ({reason}); {_REMEDIES}") from error
    predictor.list_of_parameters = []  # a second copy of the weights, for ensembles
    # the environment variable nnUNet_compile asks for compilation, which costs minutes and gains nothing on a CPU
    predictor.network = getattr(predictor.network, "_orig_mod", predictor.network)
    torch.backends.cudnn.benchmark = False  # nnU-Net turns it on: it picks kernels by timing, so bits vary by run
    return predictor


def _initialise(predictor: nnUNetPredictor, weights: Path) -> None:
    """Load a model folder by nnU-Net's own code; a trainer class that nnU-Net cannot find or import is not needed."""
    try:
        predictor.initialize_from_trained_model_folder(str(weights), "all", Path(CHECKPOINT).name)
    except (ImportError, RuntimeError) as error:
        if "trainer class" not in str(error) and not isinstance(error, ImportError):
            raise
        _initialise_without_trainer(predictor, weights)


def _initialise_without_trainer(predictor: nnUNetPredictor, weights: Path) -> None:
    """Build the network from `plans.json` alone: what every trainer of nnU-Net does that keeps its architecture."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    checkpoint = torch.load(weights / CHECKPOINT, map_location="cpu", weights_only=False)
    dataset, plans = _read_json(weights / "dataset.json"), PlansManager(_read_json(weights / "plans.json"))
    configuration = plans.get_configuration(checkpoint["init_args"]["configuration"])
    network = nnUNetTrainer.build_network_architecture(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        determine_num_input_channels(plans, configuration, dataset),
        plans.get_label_manager(dataset).num_segmentation_heads,
        enable_deep_supervision=False,
    )
    network.load_state_dict(checkpoint["network_weights"])
    predictor.manual_initialization(
        network, plans, configuration, [checkpoint["network_weights"]], dataset, checkpoint["trainer_name"],
        checkpoint.get("inference_allowed_mirroring_axes"),
    )  # fmt: skip


@contextlib.contextmanager
def _unchanged_surroundings() -> Iterator[None]:
    """Standard output and environment kept: nnU-Net prints, and what it imports sets variables for its own use."""
    before = dict(os.environ)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()
