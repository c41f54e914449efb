"""A run whose core changes the order of answers, as a service, an application and a client in this process."""

import pytest
import torch
from starlette.testclient import TestClient

from cubefast import CubicCore
from cubefast.serving.app import create_app
from cubefast.serving.requests import Limits
from cubefast.serving.service import Service

from ..runs import make_run

QUESTION = "Where is the redtree?"
LIMITS = Limits(inputs=8, characters=1000, body=20_000)
LOOPBACK = "http://127.0.0.1"


def changing_core(**arguments):
    """A core of 256 numbers, far from the identity."""
    core = CubicCore(256, state_size=4, hidden_size=8, steps=2, linear_rank=16, normalize=True, **arguments)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    return core


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    made, _, _ = make_run(folder, "demo", threshold=True)
    made.save_best(changing_core())
    return made.path


@pytest.fixture(scope="session")
def questions_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "known.txt"
    path.write_text("Where is the redtree?\nWhen came redtrees?\nWhere is the bluehouse?\n\nWhere is the redtree?\n")
    return path


@pytest.fixture(scope="session")
def service(run, questions_file):
    return Service.from_run(run, questions=str(questions_file))


@pytest.fixture
def client(service):
    with TestClient(create_app(service, LIMITS, hosts={"127.0.0.1"}), base_url=LOOPBACK) as client:
        yield client
