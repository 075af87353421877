"""What HD-BET's network is computed with: torch or OpenVINO, and in which precision.

All of them agree (Dice >= 0.999, see the benchmark), and none to the last bit: the engine is part of a mask's account.

| engine | where | what |
|---|---|---|
| `torch-float32` | processor | the reference |
| `torch-bfloat16` | processor | convolutions in bfloat16; only where the processor multiplies it |
| `openvino-float32`, `openvino-bfloat16` | processor | the same by OpenVINO's kernels; where it is installed |
| `torch-float16` | GPU | torch's automatic mixed precision, as nnU-Net itself does there |
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bids_app.steps.brain_mask.hd_bet_model import HdBetError, unchanged_surroundings

if TYPE_CHECKING:
    import torch

    from bids_app.steps.brain_mask.sliding_window import Network, Shape

PROCESSOR_ENGINES = ("torch-float32", "torch-bfloat16", "openvino-float32", "openvino-bfloat16")
GPU_ENGINE = "torch-float16"
#: Share of a GPU's free memory that a batch may take: what the libraries need beside it varies.
_GPU_SHARE = 0.8
#: Patches at once at most: sixteen of HD-BET's size keep any GPU of today busy.
_MOST_PATCHES = 16


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


def devices(device: str) -> tuple[str, ...]:
    """Each single device that a name stands for: `cuda` is every GPU that this process sees."""
    import torch

    if check_device(device) != "cuda":
        return (device,)
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))


def choose_engine(device: str, asked: str = "auto") -> str:
    """The engine for a device: the one asked for, else the fastest that agrees with the reference.

    Raises
    ------
    HdBetError
        The one asked for is not to be had here.
    """
    if device != "cpu":
        if asked not in ("auto", GPU_ENGINE):
            raise HdBetError(f"{asked}: computes on a processor; use it with --device cpu")
        return GPU_ENGINE
    bfloat16 = processor_has_bfloat16()
    openvino = importlib.util.find_spec("openvino") is not None
    if asked == "auto":
        return f"{'openvino' if openvino else 'torch'}-{'bfloat16' if bfloat16 else 'float32'}"
    if asked not in PROCESSOR_ENGINES:
        raise HdBetError(f"{asked}: no such engine; choose one of {', '.join(PROCESSOR_ENGINES)}")
    if asked.startswith("openvino") and not openvino:
        raise HdBetError(f"{asked}: OpenVINO is not installed; install it with `pip install bids_app[openvino]`")
    if asked.endswith("bfloat16") and not bfloat16:
        raise HdBetError(f"{asked}: this processor does not compute in bfloat16; use {asked.split('-')[0]}-float32")
    return asked


def processor_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX-512 BF16 or AMX); where it is emulated it is slower."""
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public way to ask
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def torch_network(network: torch.nn.Module, engine: str) -> Network:
    """The network by torch; the difference of its two classes' logits."""
    import torch

    autocast = {
        "torch-float32": ("cpu", torch.float32, False),
        "torch-bfloat16": ("cpu", torch.bfloat16, True),
        GPU_ENGINE: ("cuda", torch.float16, True),
    }
    kind, precision, enabled = autocast[engine]

    def scores(patches: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(kind, dtype=precision, enabled=enabled):
            logits = network(patches).float()
        return logits[:, 1] - logits[:, 0]

    return scores


def openvino_network(network: torch.nn.Module, engine: str, patch: Shape, threads: int) -> Network:
    """The network by OpenVINO, converted in memory and compiled for patches of one size, one at a time.

    The graph is exported without computing anything (torch traces shapes alone). OpenVINO's frontend is called directly
    and not by its `convert_model`, which would trace the network with an image of full size.

    Raises
    ------
    HdBetError
        OpenVINO cannot take this network.
    """
    import torch

    with _no_telemetry():
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    try:
        with unchanged_surroundings(), _quiet(), torch.no_grad():
            program = torch.export.export(network, (torch.zeros(1, 1, *patch),))
            program = program.run_decompositions({torch.ops.aten.instance_norm.default: _steady_norm})
            frontend = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchFXPythonDecoder.from_exported_program(program)  # the frontend does not keep it alive
            model = frontend.convert(frontend.load(decoder))
            model.reshape([1, 1, *patch])
            compiled = openvino.Core().compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if engine.endswith("bfloat16") else "f32",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                    "ENABLE_CPU_PINNING": False,  # several workers would be bound to the same processors
                },
            )
    except Exception as error:  # of torch's exporter or of OpenVINO, in many classes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise HdBetError(
            f"OpenVINO {openvino.__version__} cannot take this network ({reason}); use --hd-bet-engine torch-float32"
        ) from error
    request = compiled.create_infer_request()

    def scores(patches: torch.Tensor) -> torch.Tensor:
        results = [torch.from_numpy(request.infer([one[None].numpy()])[0]) for one in patches]
        return torch.stack([logits[0, 1] - logits[0, 0] for logits in results])

    return scores


def _steady_norm(
    image: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, _mean: None, _variance: None,
    _use_input_stats: bool, _momentum: float, epsilon: float, _cudnn_enabled: bool,
) -> torch.Tensor:  # fmt: skip
    """Instance norm as a group norm of one channel a group, for which OpenVINO has a kernel of its own, after centring.

    Instance norm itself becomes means over all voxels that OpenVINO sums one by one in float32: with the 3.5 million
    voxels of a patch its scores were off by 0.04 where torch's were by 0.00003 (Dice of a whole head's mask 0.990). The
    kernel sums in as many parts as the processor's vectors are long, which is not enough with eight (AVX2: values were
    off by 0.35 of their standard deviation where the mean was large), so the mean is taken off first, line by line.
    """
    import torch

    lines = image.mean(-1)
    mean = lines.flatten(2).mean(-1)[:, :, None, None, None]
    return torch.ops.aten.group_norm.default(image - mean, image.shape[1], weight, bias, epsilon)


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Nothing leaves this machine: OpenVINO tells its makers of its import where the package for that is installed.

    Where it is not to be had, OpenVINO takes a stand-in that does nothing, and keeps it.
    """
    name = "openvino_telemetry"
    before = {loaded: sys.modules.pop(loaded) for loaded in list(sys.modules) if loaded.split(".")[0] == name}
    sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails as if it were not installed
    try:
        yield
    finally:
        del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings in the log: OpenVINO's frontend warns, with tracebacks, of operations that newer torch lacks.

    It does so by `logging.warning`, which gives the root logger a handler where it has none: that is taken back.
    """
    before, handlers = logging.root.manager.disable, list(logging.root.handlers)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        logging.root.handlers[:] = handlers


def fitting_patches(network: Network, patch: Shape, device: str) -> int:
    """How many patches at once fit into the free memory of a GPU, by what one takes; 1 on a processor.

    A processor gains nothing from several at once. Where not even one fits, the answer is 1: `sliding_window.predict`
    says so.
    """
    import torch

    if device == "cpu":
        return 1
    with torch.inference_mode():
        try:
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            network(torch.zeros(1, 1, *patch, device=device))
            taken = torch.cuda.max_memory_allocated(device) - before
        except torch.OutOfMemoryError:
            return 1
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(_MOST_PATCHES, int(free * _GPU_SHARE / max(taken, 1))))
