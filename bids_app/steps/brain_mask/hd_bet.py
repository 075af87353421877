"""Brain masks by HD-BET 2, in process, with the model kept loaded.

HD-BET 2 is one nnU-Net; its command line hands files to nnU-Net, which starts up to thirteen helper processes for them.
Here nnU-Net's own preprocessing and export surround our sliding window: no files, no processes, one volume of scores.

Papers: Isensee et al. 2019, Human Brain Mapping 40:4952 (HD-BET); Isensee et al. 2021, Nature Methods 18:203 (nnU-Net).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.steps.brain_mask import largest_component, torch_threads
from bids_app.steps.brain_mask.hd_bet_engines import (
    check_device,
    choose_engine,
    fitting_patches,
    openvino_network,
    torch_network,
)
from bids_app.steps.brain_mask.hd_bet_model import CHECKPOINT, HdBetError, Model, check_weights, load_model
from bids_app.steps.brain_mask.sliding_window import Batch, Network, Window, predict
from bids_app.steps.images import Image, array_of, grid_affine, like, spacing_mm

__all__ = [
    "CHECKPOINT",
    "VERSION",
    "HdBet",
    "HdBetError",
    "Predictor",
    "check_device",
    "check_weights",
    "choose_engine",
    "is_left_handed",
    "load",
    "trained_on",
]

VERSION = "4"

_TILE_STEP = 0.5  # share of a patch between two neighbouring ones; HD-BET's own

#: Scores of a preprocessed volume (z, y, x), float32: the logit of brain minus that of background.
Scores = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def trained_on(suffix: str) -> bool:
    """Whether HD-BET was trained on images of this BIDS suffix: T1w (with and without contrast agent), T2w, FLAIR."""
    return suffix in {"T1w", "T2w", "FLAIR"}


def is_left_handed(raw: Any) -> bool:
    """Whether the axes of an image as stored are left-handed ("radiological", such as LAS), not right-handed (RAS)."""
    return bool(np.linalg.det(grid_affine(raw)[:3, :3]) < 0)


def load(
    weights: Path,
    *,
    device: str = "cpu",
    engine: str = "auto",
    mirroring: bool = False,
    threads: int = 1,
    scores: Scores | None = None,
) -> HdBet:
    """HD-BET from a folder of weights; a process loads a folder once for each device, however often this is called.

    Parameters
    ----------
    scores
        What predicts in this process' place, another one that has the network loaded; device, engine and mirroring are
        its own business then, and no network is loaded here.

    Raises
    ------
    HdBetError
        The weights cannot be loaded (see `hd_bet_model.load_model`), or there is no such device or engine.
    """
    folder = Path(weights).resolve()
    if scores is not None:
        return HdBet(_described(folder), scores, threads=threads)
    predictor = Predictor(folder, device=device, engine=engine, mirroring=mirroring, threads=threads)
    return HdBet(predictor.model, predictor, threads=threads)


class HdBet:
    """HD-BET 2: from a head to its brain mask.

    Parameters
    ----------
    model
        How images are prepared and scores put back; its network is not used.
    scores
        What predicts.
    threads
        Processor threads, while working only.
    """

    def __init__(self, model: Model, scores: Scores, *, threads: int = 1) -> None:
        self.threads = max(1, threads)
        self._model = model
        self._scores = scores

    def mask(self, image: Any, *, left_handed: bool = False) -> Image:
        """Brain mask (uint8, the grid of `image`) of a conformed head: the largest connected component of `predict`."""
        return like(largest_component(self.predict(image, left_handed=left_handed)).astype(np.uint8), image)

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
        # nnU-Net takes the axes in the order in which SimpleITK gives them, z y x, and pays no attention to directions
        right = slice(None, None, -1 if left_handed else 1)
        with torch_threads(self.threads):
            volume = array_of(image)[right].transpose(2, 1, 0)
            data, properties = self._model.preprocess(volume, list(spacing_mm(image)[::-1]))
            brain = self._model.export(self._scores(data), properties)
        return np.ascontiguousarray(brain.transpose(2, 1, 0)[right])


class Predictor:
    """The network of a folder on a device: scores of preprocessed volumes.

    Parameters
    ----------
    weights
        Folder with `dataset.json`, `plans.json` and `fold_all/checkpoint_final.pth`. The checkpoint is a pickle:
        one from an unknown source can run any code.
    device
        `cpu`, `cuda` or `cuda:N`.
    engine
        See `hd_bet_engines`.
    mirroring
        Average the mirrored views (eight), as HD-BET does unless told otherwise; eight times the time.
    """

    def __init__(
        self, weights: Path, *, device: str = "cpu", engine: str = "auto", mirroring: bool = False, threads: int = 1
    ) -> None:
        self.device = check_device(device)
        self.engine = choose_engine(device, engine)
        self.threads = max(1, threads)
        compiled_for = self.threads if self.engine.startswith("openvino") else 0
        self.model, self._network, self._batch = _network(Path(weights).resolve(), device, self.engine, compiled_for)
        self._window = Window(self.model.patch, _TILE_STEP, self.model.mirror_axes if mirroring else ())

    def __call__(self, data: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        try:
            with torch_threads(self.threads):
                return predict(data, self._network, self._window, device=self.device, batch=self._batch)
        except torch.OutOfMemoryError as error:
            raise HdBetError(f"{self.device} has not enough memory for HD-BET; use --device cpu") from error


@functools.cache
def _described(weights: Path) -> Model:
    return load_model(weights, with_network=False)


@functools.cache
def _network(weights: Path, device: str, engine: str, threads: int) -> tuple[Model, Network, Batch]:
    """The network of a model folder, ready on its device, and how many patches it takes at once."""
    model = load_model(weights)
    assert model.network is not None
    if engine.startswith("openvino"):
        network = openvino_network(model.network, engine, model.patch, threads)
    else:
        import torch

        torch.backends.cudnn.benchmark = False  # it would pick kernels by timing, so bits would vary by run
        network = torch_network(model.network.to(device), engine)
    return model, network, Batch(fitting_patches(network, model.patch, device))
