"""The line of an epoch shows the figure by which the best one is chosen, and fits a window."""

import pytest

from cubefast.training.progress import EpochLines


def lines_of(printed, metric, *epochs):
    """What is printed of epochs: (metric, objective, best epoch, share of the pairs) of each."""
    progress = EpochLines(metric)
    progress.start(epochs=len(epochs), batches=9, epochs_done=0, batches_done=0)
    for epoch, (value, objective, best_epoch, share) in enumerate(epochs, start=1):
        progress.step(2.5)
        progress.epoch({"epoch": epoch, "share": share, "loss": 2.5, f"val_{metric}": value}, best_epoch, objective)
    progress.end()
    return printed.readouterr().out.splitlines()


def test_best_stands_behind_the_figure_that_was_compared(capsys):
    lines = lines_of(capsys, "mrr", (0.9, 0.85, 1, 1.0), (0.88, 0.88, 2, 1.0), (0.91, 0.86, 2, 1.0))
    assert [line.split("  ")[2] for line in lines] == [
        "MRR 0.9000, objective 0.8500 best",
        "MRR 0.8800 best",
        "MRR 0.9100, objective 0.8600",
    ]


@pytest.mark.parametrize("metric", ["mrr", "recall_at_1", "cosine"])
def test_a_line_has_at_most_80_columns(capsys, metric):
    (line,) = lines_of(capsys, metric, (0.9, 0.85 if metric == "mrr" else 0.9, 1, 1.0))
    assert line.endswith(" best  0 s left at most")
    assert len(line) <= 80 - len("23/45") + len("1/1"), "room for epochs of two digits"


def test_the_share_of_a_curriculum_is_shown(capsys):
    half, whole = lines_of(capsys, "cosine", (0.5, 0.5, 1, 0.5), (0.6, 0.6, 2, 1.0))
    assert half.startswith("epoch 1/2  easiest 50%  loss 2.5000  cosine 0.5000 best")
    assert whole.startswith("epoch 2/2  loss 2.5000  cosine 0.6000 best")
