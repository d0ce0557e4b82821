"""The parts of ``python benchmarks/on_gpu.py``; each fills a `gpu.bench.Bench` with rows."""
