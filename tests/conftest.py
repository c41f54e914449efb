"""What every test stands on."""

import os
import tempfile
from pathlib import Path

# As cubefast does when it is imported before torch: threads that wait do not take the cores from those that work.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # they share the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

import pytest
import torch

# No test reaches the network or the user's own cache, in this process or in one that it starts.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUBEFAST_CACHE"] = tempfile.mkdtemp(prefix="cubefast-test-cache-")
os.environ.pop("CUBEFAST_BACKEND", None)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)


@pytest.fixture
def root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture
def api(monkeypatch):
    """A server of the embeddings API on this machine, at which the environment points."""
    from .embeddings_server import KEY, serving  # not before cubefast may be imported

    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
