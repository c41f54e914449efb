"""A shape that grows from one cell, and grows back (Mordvintsev et al., Growing neural cellular automata, 2020).

    python docs/examples/growing.py --into growing.png      # about five minutes on two cores

The automaton is the paper's: 16 numbers per cell, the first four its color and whether it lives, Sobel perception, one
hidden layer of 128, half of the cells updated in a step. A pool of patterns keeps those that come out of training; some
are damaged, so that what is learned is a shape that holds and mends itself.
"""

import argparse

import matplotlib.pyplot as plt
import torch

from cubefast import Lattice3D

SIDE, STATE = 24, 16


def face() -> torch.Tensor:
    """The target [SIDE, SIDE, 4]: a round yellow face, colors premultiplied by their opacity."""
    y, x = torch.meshgrid(*[torch.linspace(-1.2, 1.2, SIDE)] * 2, indexing="ij")
    head = (1 - x.hypot(y)).mul(8).sigmoid()
    eyes = sum((0.17 - (x - side).hypot(y + 0.3)).mul(30).sigmoid() for side in (-0.35, 0.35))
    mouth = (0.1 - (x.hypot(y) - 0.6).abs()).mul(30).sigmoid() * (y - 0.15).mul(20).sigmoid()
    dark = (eyes + mouth).clamp(max=1)
    color = torch.stack([1 - 0.8 * dark, 0.8 - 0.6 * dark, 0.2 * torch.ones_like(dark)], dim=-1)
    return torch.cat([color, torch.ones_like(head)[..., None]], dim=-1) * head[..., None]


def seeds(count: int) -> torch.Tensor:
    """One living cell in the middle, [count, SIDE, SIDE, STATE]."""
    state = torch.zeros(count, SIDE, SIDE, STATE)
    state[:, SIDE // 2, SIDE // 2, 3:] = 1
    return state


def damaged(state: torch.Tensor) -> torch.Tensor:
    """The patterns, each with a round hole at a random place."""
    y, x = torch.meshgrid(*[torch.linspace(-1.2, 1.2, SIDE)] * 2, indexing="ij")
    place = torch.rand(2, len(state), 1, 1) - 0.5
    return state * ((x - place[0]).hypot(y - place[1]) > 0.4)[..., None]


def train(iterations: int, target: torch.Tensor, batch: int = 8) -> Lattice3D:
    """An automaton that grows ``target`` and keeps it."""
    automaton = Lattice3D(
        (SIDE, SIDE), STATE, 128, neighborhood="moore", perception="sobel", activation="relu", fire_rate=0.5,
        alive=(3, 0.1), init="zero",
    )  # fmt: skip
    optimizer = torch.optim.Adam(automaton.parameters(), 2e-3, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, 1e-4)
    pool = seeds(128)
    for iteration in range(iterations):
        chosen = torch.randperm(len(pool))[:batch]
        state = pool[chosen]
        with torch.no_grad():  # the worst starts anew, the best are damaged
            order = (state[..., :4] - target).square().mean(dim=(1, 2, 3)).argsort(descending=True)
            state = state[order]
            state[:1] = seeds(1)
            state[-2:] = damaged(state[-2:])
        state = automaton(state, steps=int(torch.randint(48, 80, ())))
        loss = (state[..., :4] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        for parameter in automaton.parameters():  # as in the paper: long rollouts have gradients of any size
            parameter.grad /= parameter.grad.norm() + 1e-8
        optimizer.step()
        schedule.step()
        pool[chosen[order]] = state.detach()
        if iteration % 100 == 0 or iteration == iterations - 1:
            print(f"iteration {iteration:5}  loss {loss.item():.5f}", flush=True)
    return automaton


@torch.no_grad()
def picture(automaton: Lattice3D, target: torch.Tensor, path: str) -> None:
    """Growth, damage and what grows back, and the errors of the whole and the mended pattern."""
    grown, on_the_way = automaton(seeds(1), steps=96, return_states=16)
    hurt = grown.clone()
    hurt[:, SIDE // 2 :] = 0
    mended = automaton(hurt, steps=96)
    shown = [*on_the_way[0, ::2], grown[0], hurt[0], mended[0], target]
    names = ["16", "48", "80", "96 steps", "damaged", "96 more", "target"]
    figure, axes = plt.subplots(1, len(shown), figsize=(1.6 * len(shown), 2))
    for axis, name, state in zip(axes, names, shown, strict=True):
        color, opacity = state[..., :3], state[..., 3:4].clamp(0, 1)
        axis.imshow((1 - opacity + color).clamp(0, 1))
        axis.set_title(name)
        axis.axis("off")
    figure.savefig(path, bbox_inches="tight", dpi=120)
    for name, state in (("grown", grown), ("mended", mended)):
        print(f"{name}: mean squared error {(state[..., :4] - target).square().mean().item():.5f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--into", default="growing.png", help="the picture")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    picture(train(arguments.iterations, face()), face(), arguments.into)
