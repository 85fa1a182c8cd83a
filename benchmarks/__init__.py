"""Side-by-side measurements: `python -m benchmarks` runs them all (docs/benchmarks.md explains each one)."""
