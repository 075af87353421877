"""Encoders of slices: a TorchScript or ONNX file, or weights of SAM's image encoder (MRI-CORE's among them).

Every encoder here takes pixels in [0, 1], (n, 3, s, s), and gives a map of features (n, c, h, w) or a vector (n, c).
"""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.exit_codes import NO_INPUT

#: SAM's mean and standard deviation of a pixel (those of ImageNet), of pixels in [0, 1].
_SAM_MEAN = (0.485, 0.456, 0.406)
_SAM_STD = (0.229, 0.224, 0.225)
#: Edge of the input where nothing else is said: that of most encoders, and SAM's.
_EDGE, _SAM_EDGE = 224, 1024


class EncoderError(Exception):
    """An encoder that cannot be used; `code` is the exit code."""

    code = NO_INPUT


class Encoder(ABC):
    """What turns pictures into features; `edge` is the edge of the pictures that it takes."""

    edge: int

    @abstractmethod
    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of pictures (n, 3, edge, edge) in [0, 1]."""


class _Torch(Encoder):
    """A module of torch; SAM's wants normalised pixels."""

    def __init__(self, module: Any, edge: int, device: str, normalized: bool) -> None:
        self.edge = edge
        self._module = module.to(device)
        self._device = device
        self._normalized = normalized

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        batch = torch.from_numpy(pictures)
        if self._normalized:
            mean, std = (torch.tensor(one)[:, None, None] for one in (_SAM_MEAN, _SAM_STD))
            batch = (batch - mean) / std
        with torch.inference_mode():
            found = self._module(batch.to(self._device))
        if isinstance(found, tuple | list):
            found = found[0]
        return np.asarray(found.float().cpu().numpy())


class _Onnx(Encoder):
    """A session of ONNX Runtime; the first output counts."""

    def __init__(self, session: Any, edge: int) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self.edge = edge

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self._input: pictures})[0], dtype=np.float32)


def load_encoder(path: Path, edge: int | None, device: str, threads: int) -> Encoder:
    """The encoder in a file; what it is, its content says.

    Parameters
    ----------
    edge
        Edge of the pictures; None for the usual one.
    device
        auto, cpu, cuda or cuda:N.

    Raises
    ------
    EncoderError
        No encoder, or a library or device that is not there; the message says what to do.
    """
    if path.suffix == ".onnx":
        return _onnx(path, edge or _EDGE, device, threads)
    import torch

    torch.set_num_threads(threads)
    place = _device(device)
    if _is_script(path):
        try:
            module = torch.jit.load(str(path), map_location=place).eval()
        except RuntimeError as error:
            said = str(error).splitlines()[0]
            raise EncoderError(f"--embed {path} cannot be loaded as TorchScript: {said}") from error
        return _Torch(module, edge or _EDGE, place, normalized=False)
    from bids_app.exports.vit import WeightsError, load_weights

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        module = load_weights(content)
    except (WeightsError, AttributeError) as error:
        raise EncoderError(f"--embed {path}: {error}") from error
    except Exception as error:  # pickle's many ways to fail
        raise EncoderError(f"--embed {path} is no TorchScript, ONNX or weights file of torch") from error
    edge = edge or _SAM_EDGE
    if edge % module.shape.patch:
        raise EncoderError(f"--embed-size {edge} is no multiple of {module.shape.patch}, the edge of a patch")
    return _Torch(module, edge, place, normalized=True)


def _onnx(path: Path, edge: int, device: str, threads: int) -> Encoder:
    try:
        import onnxruntime
    except ImportError as error:
        raise EncoderError("an ONNX encoder needs onnxruntime: pip install bids_app[exports]") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    available = onnxruntime.get_available_providers()
    wanted = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[one for one in wanted if one in available]
        )
    except Exception as error:  # onnxruntime's own errors have no common class
        raise EncoderError(f"--embed {path} cannot be loaded by ONNX Runtime: {str(error).splitlines()[0]}") from error
    return _Onnx(session, edge)


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise EncoderError(f"--device {device}: torch sees no GPU here; --device cpu does the same, slower")
    return device


def _is_script(path: Path) -> bool:
    """Whether a file of torch is a program: only those have code in their zip file."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())
