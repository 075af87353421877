"""Train the `synth` network on synthetic heads: resumable at any moment, and on the same kind of processor the same
weights for the same seed (on a GPU nearly the same: it adds up in another order each time).

    python training/synth.py LABELMAPS WORK [--steps 2000] [--processes 2]
    python training/synth.py LABELMAPS WORK --device cuda --processes 1 --heads 8 --minutes 8
    python training/synth.py LABELMAPS WORK --export bids_app/data/synth/synth.pt
    python training/synth.py LABELMAPS WORK2 --start-from bids_app/data/synth/synth.pt --seed 1 --rate 2e-3

On a CPU each process runs on one thread and makes one head a step; their gradients are averaged. That is quicker on a
shared machine than two threads that wait for each other at every layer. On a GPU one process makes several. WORK holds
the prepared label maps, `checkpoint.pt` and `log.tsv`; started again, the training goes on from the checkpoint. The
label maps in `HELD_BACK` are never trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from label_maps import LabelMap, load_label_map
from synth_heads import Head, synthetic_head
from torch import Tensor, distributed
from torch import multiprocessing as mp
from torch.nn import functional

from bids_app.steps.brain_mask.synth_network import CLASSES, MASKS, SynthNetwork

HELD_BACK = ("seg_06.nii.gz", "seg_13.nii.gz", "seg_19.nii.gz")
_VALIDATION_SEED = 1_000_003
_VALIDATION_HEADS = 12
_CHECKPOINT_EVERY = 50
_VALIDATE_EVERY = 500
_RISE = 100  # steps in which the learning rate grows
_AVERAGE = 0.998  # weight of the past in the running average of the weights, which is what ships
_WEIGHT_DECAY = 1e-2
_MOMENTUM = 0.95
#: Giving a tensor's memory back to the system and fetching it again made a step up to three times slower.
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "268435456",
                "MALLOC_ARENA_MAX": "1"}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a training does."""

    labelmaps: Path
    work: Path
    steps: int
    processes: int
    rate: float
    seed: int
    until: int
    start_from: Path | None
    device: torch.device
    heads: int
    minutes: float | None


def train(rank: int, plan: Plan) -> None:
    """One of the processes; the first one writes."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{plan.work}/meeting", rank=rank, world_size=plan.processes
    )
    maps = _prepared(plan, held_back=False)
    torch.manual_seed(plan.seed)
    network = SynthNetwork().to(plan.device, memory_format=_layout(plan.device))
    if plan.start_from:
        known = torch.load(plan.start_from, weights_only=True)
        # blocks that the earlier network did not have begin as nothing
        grown = network.load_state_dict({name: value.float() for name, value in known.items()}, strict=False)
        assert not grown.unexpected_keys
    average = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = Muon(network, plan.rate)
    start, schedule = 0, _Schedule(plan)
    checkpoint = plan.work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=plan.device)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, start, schedule.steps = state["average"], state["step"], state["steps"]
    log = _Log(plan.work / "log.tsv", start) if rank == 0 else None
    held_back = _prepared(plan, held_back=True) if rank == 0 else []
    for step in itertools.count(start):
        if schedule.ends(step):
            break
        began = time.monotonic()
        heads = [_head(maps, plan, (step * plan.processes + rank) * plan.heads + k) for k in range(plan.heads)]
        made = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        optimizer.zero_grad(set_to_none=True)
        with _precision(plan.device):
            logits = network(torch.stack([head.image for head in heads]))
        loss, scores = losses(logits.float(), heads)
        loss.backward()
        loss_mean = _averaged(network, loss, plan.processes)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        keep = min(_AVERAGE, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        if log:
            log.write(step, loss_mean, scores, made - began, time.monotonic() - began)
            if (step + 1) % _CHECKPOINT_EVERY == 0 or schedule.ends(step + 1):
                _save(checkpoint, {"network": network.state_dict(), "optimizer": optimizer.state_dict(),
                                   "average": average, "step": step + 1, "steps": schedule.steps})  # fmt: skip
            if (step + 1) % _VALIDATE_EVERY == 0 or schedule.ends(step + 1):
                log.validation(step + 1, validate(average, held_back))
    distributed.barrier()


class _Schedule:
    """How many steps there are, and the learning rate of each: a short rise, then half a cosine down to nothing."""

    def __init__(self, plan: Plan) -> None:
        self.steps, self._plan, self._began, self._half_way = plan.steps, plan, time.monotonic(), 0.0

    def ends(self, step: int) -> bool:
        return step >= min(self.steps, self._plan.until)

    def rate(self, step: int) -> float:
        if step < _RISE:
            if self._plan.minutes:
                self._measure(step, self._plan.minutes)
            return self._plan.rate * (step + 1) / _RISE
        return self._plan.rate * 0.5 * (1 + float(np.cos(np.pi * (step - _RISE) / max(self.steps - _RISE, 1))))

    def _measure(self, step: int, minutes: float) -> None:
        """The pace of the second half of the rise tells how many steps fit."""
        now = time.monotonic()
        if step == _RISE // 2:
            self._half_way = now
        elif step == _RISE - 1:
            pace = (now - self._half_way) / (step - _RISE // 2)
            self.steps = step + int((60 * minutes - (now - self._began)) / pace)


def _head(maps: list[LabelMap], plan: Plan, number: int) -> Head:
    chosen = int(np.random.default_rng([plan.seed, number]).integers(len(maps)))
    return synthetic_head(maps[chosen], plan.seed, number)


class Muon(torch.optim.Optimizer):
    """Steps of equal size in every direction of a convolution's kernel; AdamW for what is no kernel.

    The momentum of each kernel, as a matrix of (out, in x 27), is brought to all singular values near 1 by five
    Newton-Schulz iterations (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) and scaled to the size of
    AdamW's steps (Liu et al. 2025, arXiv:2502.16982), so that both take the same rate.
    """

    def __init__(self, network: torch.nn.Module, rate: float) -> None:
        kernels = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        super().__init__([{"params": kernels, "kernels": True}, {"params": others, "kernels": False}], {"lr": rate})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            for parameter in group["params"]:
                state, gradient = self.state[parameter], parameter.grad
                if not state:
                    state.update(first=torch.zeros_like(parameter), second=torch.zeros_like(parameter), step=0)
                state["step"] += 1
                if group["kernels"]:
                    state["first"].lerp_(gradient, 1 - _MOMENTUM)
                    matrix = gradient.lerp(state["first"], _MOMENTUM).flatten(1)
                    update = _orthogonal(matrix).view_as(parameter) * 0.2 * max(matrix.shape) ** 0.5
                else:
                    state["first"].lerp_(gradient, 0.1)
                    state["second"].lerp_(gradient.square(), 0.01)
                    first = state["first"] / (1 - 0.9 ** state["step"])
                    second = state["second"] / (1 - 0.99 ** state["step"])
                    update = first / (second.sqrt() + 1e-8)
                parameter.mul_(1 - group["lr"] * _WEIGHT_DECAY).add_(update, alpha=-group["lr"])


def _orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with all singular values about 1: Newton-Schulz iterations with Jordan's coefficients."""
    x = matrix / (matrix.norm() + 1e-7)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if wide else x.T


def losses(logits: Tensor, heads: Sequence[Head]) -> tuple[Tensor, Tensor]:
    """The mean loss of some heads (n, 16, x, y, z), and their mean Dice: brain, intracranial, classes (soft)."""
    found = [_losses(one, head) for one, head in zip(logits, heads, strict=True)]
    return torch.stack([loss for loss, _ in found]).mean(), torch.stack([scores for _, scores in found]).mean(0)


def _losses(logits: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Cross-entropy and soft Dice of the masks and the classes within the field of view, and the hard Dice of each."""
    seen = head.seen
    masks, classes = logits[: len(MASKS)], logits[len(MASKS) :]
    entropy = functional.binary_cross_entropy_with_logits(masks, head.masks, reduction="none")
    total = 2 * (entropy * seen).sum() / seen.sum() / len(MASKS)
    scores = []
    for logit, truth in zip(masks, head.masks, strict=True):
        part = logit.sigmoid() * seen
        total = total + 1 - 2 * (part * truth).sum() / (part.sum() + (truth * seen).sum() + 1)
        hard, true = (logit > 0) & seen, (truth > 0.5) & seen
        scores.append(2 * (hard & true).sum() / (hard.sum() + true.sum() + 1e-6))
    # every voxel is computed and those outside count nothing: a GPU would wait for the processor to pick them
    chosen = (seen & (head.masks[1] > 0)).float()
    enough = chosen.sum() >= 1000
    logarithms = classes.log_softmax(0)
    entropy = functional.nll_loss(logarithms[None], head.classes[None], reduction="none")[0]
    total = total + enough * (entropy * chosen).sum() / chosen.sum().clamp_min(1)
    likely = logarithms.exp() * chosen
    sizes = torch.stack([((head.classes == index) * chosen).sum() for index in range(len(CLASSES))])
    common = torch.stack([((head.classes == index) * likely[index]).sum() for index in range(len(CLASSES))])
    overlap = 2 * common / (likely.sum((1, 2, 3)) + sizes + 1)
    present = ((sizes > 50) & (torch.arange(len(CLASSES), device=sizes.device) > 0) & enough).float()
    mean = (overlap * present).sum() / present.sum().clamp_min(1)
    return total + (present.sum() > 0) * (1 - mean), torch.stack([*scores, mean.detach()])


def validate(weights: dict[str, Tensor], maps: list[LabelMap]) -> list[float]:
    """Mean hard Dice of brain and intracranial mask, and soft Dice of the classes, on heads never trained on."""
    device = maps[0].tissue.device
    network = SynthNetwork().eval().to(device)
    network.load_state_dict(weights)
    found = []
    with torch.no_grad():
        for number in range(_VALIDATION_HEADS):
            head = synthetic_head(maps[number % len(maps)], _VALIDATION_SEED, number)
            with _precision(device):
                logits = network(head.image[None])
            found.append(losses(logits.float(), [head])[1])
    return torch.stack(found).mean(0).tolist()


def export(work: Path, path: Path) -> None:
    """Write the averaged weights in half precision, and their hash beside them."""
    state = torch.load(work / "checkpoint.pt", weights_only=True, map_location="cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: value.half() for name, value in state["average"].items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps({"sha256": digest, "steps": state["step"]}, indent=2) + "\n")
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {state['step']} steps, sha256 {digest}")


def _half() -> bool:
    """Whether this processor multiplies bfloat16 itself; where it does not, emulating it takes twice the time."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def _precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda" or _half())


def _layout(device: torch.device) -> torch.memory_format:
    """What was quicker: channels last in float32 (2.1 against 3.3 CPU s a head), contiguous in bfloat16 (1.3, 1.9)."""
    return torch.contiguous_format if device.type == "cpu" and _half() else torch.channels_last_3d


def _averaged(network: SynthNetwork, loss: Tensor, processes: int) -> Tensor:
    """Average the gradients of all processes in place; gives the mean loss."""
    if processes == 1:
        return loss.detach()
    gradients = [parameter.grad for parameter in network.parameters()]
    flat = torch.cat([g.flatten() for g in gradients] + [loss.detach().reshape(1)])
    distributed.all_reduce(flat)
    flat /= processes
    place = 0
    for gradient in gradients:
        gradient.copy_(flat[place : place + gradient.numel()].view_as(gradient))
        place += gradient.numel()
    return flat[-1]


def _prepared(plan: Plan, *, held_back: bool) -> list[LabelMap]:
    """The label maps as the generator wants them, made once."""
    result = []
    for path in sorted(plan.labelmaps.glob("seg_*.nii.gz")):
        if (path.name in HELD_BACK) == held_back:
            made = plan.work / f"{path.name.split('.')[0]}.pt"
            if not made.exists():
                _save(made, vars(load_label_map(path)))
            parts = torch.load(made, weights_only=True)
            result.append(LabelMap(**{k: v.to(plan.device) if isinstance(v, Tensor) else v for k, v in parts.items()}))
    return result


def _save(path: Path, what: dict[str, Any]) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    torch.save(what, partial)
    partial.replace(path)


class _Log:
    """A table with a row for every 10 steps; rows after a checkpoint are dropped when the training goes on from it."""

    def __init__(self, path: Path, start: int) -> None:
        rows = path.read_text().splitlines() if path.exists() else ["\t".join(
            ("kind", "step", "loss", "brain", "intracranial", "classes", "head_s", "step_s"))]  # fmt: skip
        kept = [rows[0], *(row for row in rows[1:] if int(row.split("\t")[1]) <= start)]
        self.path, self.recent = path, list[tuple[Tensor, tuple[float, ...]]]()
        path.write_text("\n".join(kept) + "\n")

    def write(self, step: int, loss: Tensor, scores: Tensor, *seconds: float) -> None:
        self.recent.append((torch.cat([loss[None], scores]), seconds))  # not read yet: a GPU is not waited for
        if (step + 1) % 10 == 0:
            numbers, times = torch.stack([row for row, _ in self.recent]), [row for _, row in self.recent]
            self._row("train", step + 1, [*numbers.mean(0).tolist(), *np.mean(times, axis=0).tolist()])
            self.recent.clear()

    def validation(self, step: int, scores: list[float]) -> None:
        self._row("validate", step, [float("nan"), *scores])

    def _row(self, kind: str, step: int, values: list[float]) -> None:
        with self.path.open("a") as file:
            file.write("\t".join([kind, str(step), *(f"{value:.4f}" for value in values)]) + "\n")


def main() -> None:
    """Read the command line; train or export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelmaps", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=2000, help="length of the schedule")
    parser.add_argument("--until", type=int, default=10**9, help="stop here, to go on later")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="weights of an earlier training (synth.pt)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--heads", type=int, default=1, help="heads of a process and step")
    parser.add_argument("--minutes", type=float, help="as many steps as fit into this time, instead of --steps")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the weights and stop")
    arguments = parser.parse_args()
    if arguments.export:
        export(arguments.work, arguments.export)
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    (arguments.work / "meeting").unlink(missing_ok=True)
    os.environ.update(_KEEP_MEMORY)  # read by the processes when they start
    plan = Plan(arguments.labelmaps, arguments.work.resolve(), arguments.steps, arguments.processes, arguments.rate,
                arguments.seed, arguments.until, arguments.start_from, arguments.device, arguments.heads,
                arguments.minutes)  # fmt: skip
    _prepare_all(plan)
    mp.spawn(train, (plan,), nprocs=plan.processes)


def _prepare_all(plan: Plan) -> None:
    """Before the processes start: they must not prepare the same map at the same time."""
    paths = sorted(plan.labelmaps.glob("seg_*.nii.gz"))
    with mp.get_context("spawn").Pool(plan.processes) as pool:
        pool.starmap(_prepare, [(path, plan.work / f"{path.name.split('.')[0]}.pt") for path in paths])


def _prepare(path: Path, made: Path) -> None:
    torch.set_num_threads(1)
    if not made.exists():
        _save(made, vars(load_label_map(path)))


if __name__ == "__main__":
    main()
