"""What a run costs: parameters, training time, memory, and the latency of one query as it is on this machine now."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from ..core import predict
from ..data.encoding.create_encoder import as_encoder, is_known_by_name
from ..lattice.diagnostics import facts
from ..pipeline import Pipeline
from ..utils.files import read_json
from ..utils.process_memory import peak_memory_mb
from .run_data import RunData
from .task_results import TaskResult

_WARM, _TIMED, _BATCH = 5, 100, 256
_MAPPING = TypeAdapter(dict[str, Any])


def measure_performance(run_data: RunData, result: TaskResult) -> dict[str, Any]:
    """Sizes, times and memory, for JSON. Times are of this moment and this machine; they differ from call to call."""
    core, test = run_data.core, result.main_test
    one = test.pairs.inputs[:1]
    many = test.pairs.inputs[torch.arange(_BATCH) % len(test.pairs.inputs)]
    machine = facts()
    return {
        "parameters": core.parameter_count(),
        "bytes_on_disk": sum(file.stat().st_size for file in (run_data.run.path / "best").iterdir()),
        "training": _training(run_data),
        "one_query_core": _latency(lambda: predict(core, one)),
        "one_query_whole": _whole(run_data, [each.question for each in test.metadata.dialogues or []]),
        "batch": _BATCH,
        "queries_per_second": _BATCH / (_latency(lambda: predict(core, many), 10)["median_ms"] / 1000),
        "peak_memory_mb": peak_memory_mb(),
        "machine": {key: machine[key] for key in ("backend", "threads", "cpus", "platform")},
    }


def _whole(run_data: RunData, questions: list[str]) -> dict[str, float] | None:
    """From the text of a question to the text of an answer; None where the run cannot be asked here, or its encoder is
    a program elsewhere, of which the time says nothing and the calls may cost money.
    """
    config = run_data.config
    if config.data.vectors is not None or not run_data.tasks[0].parts.answers or not questions:
        return None
    if is_known_by_name(as_encoder(config.encoder or "")):
        return None
    pipeline = Pipeline.from_run(run_data.run.path, threshold=None)
    asked = itertools.cycle(questions)
    return _latency(lambda: pipeline(next(asked), 1))


def _training(run_data: RunData) -> dict[str, Any]:
    """Of metrics.jsonl and environment.json: what the training took, and where."""
    records = run_data.run.load_epochs()
    path = run_data.run.path / "environment.json"
    environment = read_json(path, _MAPPING) if path.exists() else {}
    return {
        "epochs": len(records),
        "seconds": sum(record.seconds for record in records),
        "pairs_per_second": float(np.median([record.pairs_per_second for record in records])) if records else None,
        "peak_memory_mb": max((record.peak_memory_mb for record in records), default=None),
        "machine": {key: environment.get(key) for key in ("backend", "threads", "cpus", "platform")},
    }


def _latency(call: Callable[[], object], times: int = _TIMED) -> dict[str, float]:
    """Median and 95th percentile of so many calls, after some to warm up."""
    for _ in range(_WARM):
        call()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return {"median_ms": float(np.median(seconds)) * 1000, "p95_ms": float(np.percentile(seconds, 95)) * 1000}
