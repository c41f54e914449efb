"""A volume segmented by its own cells (in the form of Kalkhof et al., M3D-NCA, 2023).

    python docs/examples/volume.py --into volume.png        # about five minutes on two cores

In noisy volumes of 20^3 there is one large bright body to find, and small spots as bright that are none. A cell sees
its own intensity, at each step, and its neighbors through learned depthwise filters; half of the cells are updated in a
step.
"""

import argparse

import matplotlib.pyplot as plt
import torch
from torch import nn

from cubefast import Lattice3D

SIDE = 20


def volumes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Intensities and what is to be found, [count, SIDE, SIDE, SIDE] each."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 3, indexing="ij")
    place = torch.stack(axes, dim=-1)[None]

    def body(radius: torch.Tensor) -> torch.Tensor:
        middle = 1.2 * torch.rand(count, 1, 1, 1, 3) - 0.6
        return (((place - middle) / radius).norm(dim=-1) < 1).float()

    wanted = body(0.3 + 0.25 * torch.rand(count, 1, 1, 1, 3))
    spots = torch.stack([body(torch.full((count, 1, 1, 1, 3), 0.14)) for _ in range(4)]).amax(dim=0)
    bright = torch.maximum(wanted, spots)
    return bright + 0.5 * torch.randn_like(bright), wanted


class Segmenter(nn.Module):
    """Intensities [B, X, Y, Z] -> logits [B, X, Y, Z]."""

    def __init__(self) -> None:
        super().__init__()
        self.lattice = Lattice3D(
            (SIDE, SIDE, SIDE), 16, 64, 16, neighborhood="moore", perception="depthwise", filters=2, activation="relu",
            fire_rate=0.5, init="zero", checkpoint_every=4,
        )  # fmt: skip
        self.intensity = nn.Linear(1, 64, bias=False)

    def forward(self, intensities: torch.Tensor) -> torch.Tensor:
        state = intensities.new_zeros(*intensities.shape, 16)
        return self.lattice(state, self.intensity(intensities[..., None]))[..., 0]


def dice(probability: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Overlap of each volume, 0 to 1."""
    both = (probability * wanted).sum(dim=(1, 2, 3))
    return (2 * both + 1) / (probability.sum(dim=(1, 2, 3)) + wanted.sum(dim=(1, 2, 3)) + 1)


def train(iterations: int, batch: int = 2) -> Segmenter:
    """A segmenter, by cross-entropy and Dice, on volumes that are new in each iteration."""
    model = Segmenter()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, 1e-4)
    for iteration in range(iterations):
        intensities, wanted = volumes(batch)
        logits = model(intensities)
        loss = (
            nn.functional.binary_cross_entropy_with_logits(logits, wanted) + 1 - dice(logits.sigmoid(), wanted).mean()
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if iteration % 100 == 0 or iteration == iterations - 1:
            print(f"iteration {iteration:5}  loss {loss.item():.4f}", flush=True)
    return model


@torch.no_grad()
def picture(model: Segmenter, path: str) -> None:
    """The middle slices of the bodies in four new volumes, and the mean Dice of 32."""
    intensities, wanted = volumes(32)
    found = (model(intensities) > 0).float()
    bright = dice((intensities > 0.5).float(), wanted).mean()
    print(f"test: Dice {dice(found, wanted).mean():.3f}; a threshold alone has {bright:.3f}")
    figure, axes = plt.subplots(3, 4, figsize=(8, 6))
    for column, (volume, truth, result) in enumerate(zip(intensities[:4], wanted, found, strict=False)):
        slice_ = int(truth.sum(dim=(0, 1)).argmax())
        for row, (name, shown) in enumerate((("intensity", volume), ("wanted", truth), ("found", result))):
            axes[row, column].imshow(shown[..., slice_], cmap="gray")
            axes[row, column].set_title(name if column == 0 else "", loc="left")
            axes[row, column].axis("off")
    figure.savefig(path, bbox_inches="tight", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--into", default="volume.png", help="the picture")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    picture(train(arguments.iterations), arguments.into)
