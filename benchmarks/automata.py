"""Three published kinds of automata, as people write them in PyTorch and on this kernel: same numbers, then the time.

    python benchmarks/automata.py            # one thread and two, inference and training, memory: about five minutes
    python benchmarks/automata.py --quick    # does it run?

Growing: Mordvintsev et al., Growing neural cellular automata, 2020. Digits: Randazzo et al., Self-classifying MNIST
digits, 2020: dense perception, half of the cells firing; of the paper's rule neither form has the second hidden layer,
nor keeps the empty pixels still. The same with every cell firing is dense products and little else. Volume: Kalkhof et
al., M3D-NCA, 2023, with its learned depthwise perception.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import torch
from speed.memory import reset_peak
from torch import Tensor
from torch.nn import functional as F

from cubefast import Topology, fire_mask, lattice_rollout
from cubefast.utils.process_memory import status_mb


@dataclass(frozen=True)
class Automaton:
    """One workload. States are [B, S, *shape] for PyTorch and [B, N, S] for the kernel."""

    name: str
    shape: tuple[int, ...]
    batch: int
    state_size: int
    hidden_size: int
    steps: int
    perception: str  # sobel | dense | depthwise
    fire_rate: float | None = None
    alive: tuple[int, float] | None = None
    drive: bool = False  # a drive for each cell and not only a bias

    @property
    def topology(self) -> Topology:
        return Topology(self.shape, "moore")

    def tensors(self) -> dict[str, Tensor]:
        """State [B, N, S], the weights of PyTorch's layers (channels first), and a drive [B, N, H] or a bias [H]."""
        random = torch.Generator().manual_seed(0)

        def draw(*shape: int, scale: float = 1.0) -> Tensor:
            return scale * torch.randn(shape, generator=random)

        S, H, cells, slots = self.state_size, self.hidden_size, self.topology.cells, self.topology.slots
        width = {"sobel": 1 + len(self.shape), "dense": slots, "depthwise": 2}[self.perception] * S
        state = draw(self.batch, cells, S, scale=0.5)
        if self.alive is not None:  # a disk, as a pattern half grown
            place = torch.cartesian_prod(*(torch.linspace(-1, 1, side) for side in self.shape))
            state *= (place.square().sum(dim=1) < 0.5)[None, :, None]
        tensors = {
            "state": state,
            "drive": draw(self.batch, cells, H, scale=0.5) if self.drive else draw(H, scale=0.1),
            "w_perceive": draw(H, width, scale=width**-0.5),
            "w_update": draw(S, H, scale=0.3 * H**-0.5),
            "b_update": torch.zeros(S),
        }
        if self.perception == "depthwise":
            tensors["kernel"] = draw(slots, S, scale=slots**-0.5)
        return {name: t.requires_grad_() for name, t in tensors.items()}


def on_the_kernel(work: Automaton, tensors: dict[str, Tensor], seed: int, backend: str = "cpp") -> Tensor:
    """The final state by :func:`lattice_rollout`."""
    filters = None
    if work.perception == "sobel":
        filters = work.topology.filters("identity", "sobel", dtype=tensors["state"].dtype)
    elif work.perception == "depthwise":
        identity = work.topology.filters("identity", dtype=tensors["state"].dtype)[..., None].expand(
            -1, -1, work.state_size
        )
        filters = torch.cat([identity, tensors["kernel"][None]])
    return lattice_rollout(
        tensors["state"],
        tensors["drive"],
        tensors["w_perceive"],
        tensors["w_update"],
        tensors["b_update"],
        topology=work.topology,
        steps=work.steps,
        activation="relu",
        filters=filters,
        fire_rate=work.fire_rate,
        seed=seed if work.fire_rate is not None else None,
        alive=work.alive,
        backend=backend,
    )


def in_pytorch(work: Automaton, tensors: dict[str, Tensor], masks: list[Tensor] | None) -> Tensor:
    """The final state [B, N, S] by convolutions; the cells that fire are drawn by torch.rand, or given [B, N]."""
    dimensions, S, H = len(work.shape), work.state_size, work.hidden_size
    convolve = F.conv2d if dimensions == 2 else F.conv3d
    pool = F.max_pool2d if dimensions == 2 else F.max_pool3d
    ones = (1,) * dimensions
    slots_to_places = torch.tensor([*range(work.topology.slots)])
    middle = work.topology.slots // 2  # the cell itself, last among the slots, is in the middle of a kernel
    order = torch.cat([slots_to_places[:middle], slots_to_places[-1:], slots_to_places[middle:-1]])
    side = (3,) * dimensions

    x = tensors["state"].transpose(1, 2).reshape(work.batch, S, *work.shape)
    drive = tensors["drive"]
    drive = drive.transpose(1, 2).reshape(work.batch, H, *work.shape) if work.drive else drive.reshape(1, H, *ones)
    w = tensors["w_perceive"]
    if work.perception == "dense":
        dense = w.reshape(H, -1, S)[:, order].transpose(1, 2).reshape(H, S, *side)
    else:
        if work.perception == "sobel":
            filters = work.topology.filters("sobel", dtype=w.dtype)[:, order].reshape(-1, 1, *side)
            kernel = filters.repeat(S, *(1,) * (dimensions + 1))  # of each channel its filters
            count = len(filters)
        else:
            kernel, count = tensors["kernel"][order].t().reshape(S, 1, *side), 1
        by_filter = w.reshape(H, 1 + count, S)
        identity, others = by_filter[:, 0], by_filter[:, 1:].transpose(1, 2).reshape(H, S * count)
        w_1x1 = torch.cat([identity, others], dim=1).reshape(H, -1, *ones)
    w_update, b_update = tensors["w_update"].reshape(S, H, *ones), tensors["b_update"]

    def alive(x: Tensor) -> Tensor:
        channel, threshold = work.alive
        return pool(x[:, channel : channel + 1], 3, 1, 1) > threshold

    for step in range(work.steps):
        if work.alive is not None:
            before = alive(x)
        if work.perception == "dense":
            hidden = torch.relu(convolve(x, dense, padding=1) + drive)
        else:
            perceived = torch.cat([x, convolve(x, kernel, padding=1, groups=S)], dim=1)
            hidden = torch.relu(convolve(perceived, w_1x1) + drive)
        change = convolve(hidden, w_update, b_update)
        if work.fire_rate is not None:
            if masks is None:
                fires = (torch.rand(work.batch, 1, *work.shape) < work.fire_rate).float()
            else:
                fires = masks[step].reshape(work.batch, 1, *work.shape).to(x.dtype)
            change = change * fires
        x = x + change
        if work.alive is not None:
            x = x * (before & alive(x)).to(x.dtype)
    return x.flatten(2).transpose(1, 2)


GROWING = Automaton("growing, fire and alive", (40, 40), 4, 16, 128, 24, "sobel", 0.5, (3, 0.1))
DIGITS = Automaton("digits, image as the drive, fire", (28, 28), 16, 20, 80, 20, "dense", 0.5, drive=True)
DIGITS_AT_ONCE = replace(DIGITS, name="the same, every cell fires", fire_rate=None)
VOLUME = Automaton("volume 24^3, depthwise and fire", (24, 24, 24), 1, 16, 64, 16, "depthwise", 0.5)
WORKLOADS = (GROWING, VOLUME, DIGITS, DIGITS_AT_ONCE)


def masks_of(work: Automaton, seed: int) -> list[Tensor] | None:
    """Which cells fire, [B, N] for each step, as the kernel draws them."""
    if work.fire_rate is None:
        return None
    cells = work.topology.cells
    return [
        torch.stack([fire_mask(seed, b, step, cells, work.fire_rate) for b in range(work.batch)])
        for step in range(work.steps)
    ]


def check(work: Automaton) -> None:
    """Raise AssertionError unless both give the same state and gradients, with the same cells firing."""
    masks = masks_of(work, 1)
    tensors = {name: t.detach().double().requires_grad_() for name, t in work.tensors().items()}
    results = [on_the_kernel(work, tensors, 1), in_pytorch(work, tensors, masks)]
    weights = torch.randn(results[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [torch.autograd.grad((result * weights).sum(), list(tensors.values())) for result in results]
    for got, wanted in zip([results[0], *gradients[0]], [results[1], *gradients[1]], strict=True):
        error = (got - wanted).abs().max().item()
        assert error <= 1e-9 * max(1.0, wanted.abs().max().item()), f"{work.name}: off by {error:.3g}"


def best_of(calls: list, seconds: float) -> list[float]:
    """The least time of each call, in turns, ms."""
    best = [float("inf")] * len(calls)
    for call in calls:
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i, call in enumerate(calls):
            begin = time.perf_counter()
            call()
            best[i] = min(best[i], 1e3 * (time.perf_counter() - begin))
    return best


def times(work: Automaton, threads: int, seconds: float) -> list[list[float]]:
    """ms of the kernel and of PyTorch: inference, then training (forward and backward)."""
    torch.set_num_threads(threads)
    tensors = work.tensors()

    def inference(run):
        def call():
            with torch.no_grad():
                run()

        return call

    def training(run):
        return lambda: torch.autograd.grad(run().sum(), list(tensors.values()))

    runs = [lambda: on_the_kernel(work, tensors, 1), lambda: in_pytorch(work, tensors, None)]
    return [best_of([mode(run) for run in runs], seconds) for mode in (inference, training)]


def peak_memory(work: Automaton, which: str) -> float:
    """MB that one training step adds to a process's peak."""
    # Freed blocks go back to the system at once, or the second step would be served from the first one's.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--memory", work.name, which]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def one_step(name: str, which: str) -> None:
    """What :func:`peak_memory` runs."""
    work = next(work for work in WORKLOADS if work.name == name)
    tensors = work.tensors()

    def step():
        run = on_the_kernel(work, tensors, 1) if which == "kernel" else in_pytorch(work, tensors, None)
        return torch.autograd.grad(run.sum(), list(tensors.values()))

    step()
    gc.collect()
    reset_peak()
    before = status_mb("VmRSS")
    step()
    print(status_mb("VmHWM") - before)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a second of each: does it run?")
    parser.add_argument("--memory", nargs=2, metavar=("WORKLOAD", "WHICH"), help="only that, of this process")
    arguments = parser.parse_args()
    if arguments.memory:
        return one_step(*arguments.memory)
    seconds = 1.0 if arguments.quick else 15.0
    print("ms of the kernel, of PyTorch, and their ratio; MB of a training step of the kernel and of PyTorch\n")
    print("| workload | threads | inference | training | memory |")
    print("| --- | --- | --- | --- | --- |")
    for work in WORKLOADS:
        check(work)
        memory = [peak_memory(work, which) for which in ("kernel", "pytorch")]
        for threads in (1, 2):
            cells = [f"{a:.1f}, {b:.1f}, **{b / a:.2f}**" for a, b in times(work, threads, seconds)]
            print(f"| {work.name} | {threads} | {' | '.join(cells)} | {memory[0]:.0f}, {memory[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
