"""How fast, beside what: the workloads, the peers, and the measurement of `python -m cubefast.bench`."""
