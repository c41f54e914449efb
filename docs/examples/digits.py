"""Digits whose cells agree on which digit they are (Randazzo et al., Self-classifying MNIST digits, 2020).

    python docs/examples/digits.py --into digits.png        # about two minutes on two cores; needs scikit-learn

Every cell sees its own pixel, at each step, and its neighbors, and must find out what the whole shows. The image is the
drive. The digits are scikit-learn's, of 8 x 8 pixels; a quarter of them is kept for the test.
"""

import argparse

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from cubefast import Lattice3D

SIDE, CLASSES = 8, 10


class Classifier(nn.Module):
    """Images [B, SIDE, SIDE] -> for each cell what it thinks it is part of, [B, SIDE, SIDE, CLASSES]."""

    def __init__(self) -> None:
        super().__init__()
        self.lattice = Lattice3D(
            (SIDE, SIDE), 24, 80, 20, neighborhood="moore", activation="relu", fire_rate=0.5, init="zero"
        )
        self.pixel = nn.Linear(1, 80, bias=False)

    def forward(self, images: torch.Tensor, return_states: int | None = None) -> torch.Tensor:
        state = images.new_zeros(*images.shape, 24)
        result = self.lattice(state, self.pixel(images[..., None]), return_states=return_states)
        return (result if return_states is None else result[1])[..., -CLASSES:]


def data() -> tuple[torch.Tensor, ...]:
    """Images in [0, 1] and classes, of training and of test."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().div(16)
    classes = torch.from_numpy(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    test, train = order[: len(order) // 4], order[len(order) // 4 :]
    return images[train], classes[train], images[test], classes[test]


def ink(images: torch.Tensor) -> torch.Tensor:
    """Which cells belong to a digit: the others have no say."""
    return images > 0.1


def train(iterations: int, images: torch.Tensor, classes: torch.Tensor, batch: int = 32) -> Classifier:
    """A classifier, by the squared distance to the one-hot class in every cell of the digit, as in the paper."""
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, 1e-4)
    for iteration in range(iterations):
        chosen = torch.randint(len(images), (batch,))
        wanted = nn.functional.one_hot(classes[chosen], CLASSES).float()[:, None, None]
        error = (model(images[chosen]) - wanted).square().sum(dim=-1)
        loss = error[ink(images[chosen])].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if iteration % 100 == 0 or iteration == iterations - 1:
            print(f"iteration {iteration:5}  loss {loss.item():.4f}", flush=True)
    return model


@torch.no_grad()
def evaluate(model: Classifier, images: torch.Tensor, classes: torch.Tensor) -> None:
    """Print how many digits a majority of their cells knows, and how many cells are right."""
    thoughts = model(images).argmax(dim=-1)
    right = (thoughts == classes[:, None, None]) & ink(images)
    votes = nn.functional.one_hot(thoughts, CLASSES) * ink(images)[..., None]
    known = (votes.sum(dim=(1, 2)).argmax(dim=1) == classes).float().mean()
    print(f"test: {100 * known:.1f}% of digits by majority, {100 * right.sum() / ink(images).sum():.1f}% of cells")


@torch.no_grad()
def picture(model: Classifier, images: torch.Tensor, path: str) -> None:
    """What the cells of ten digits think after 4, 12 and 20 steps."""
    states = model(images[:10], return_states=4)
    figure, axes = plt.subplots(4, 10, figsize=(12, 5))
    rows = [images[:10], *(states[:, step].argmax(dim=-1) for step in (0, 2, 4))]
    for row, name, line in zip(axes, ("image", "4 steps", "12", "20"), rows, strict=True):
        row[0].set_title(name, loc="left")
        for axis, image, shown in zip(row, images, line, strict=False):
            if name == "image":
                axis.imshow(shown, cmap="gray")
            else:
                axis.imshow(torch.where(ink(image), shown, torch.nan), cmap="tab10", vmin=0, vmax=9)
            axis.axis("off")
    figure.savefig(path, bbox_inches="tight", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--into", default="digits.png", help="the picture")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    train_images, train_classes, test_images, test_classes = data()
    classifier = train(arguments.iterations, train_images, train_classes)
    evaluate(classifier, test_images, test_classes)
    picture(classifier, test_images, arguments.into)
