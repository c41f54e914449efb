"""What `python benchmarks/bench.py` measures: workloads, the implementations compared, timing, memory, targets."""
