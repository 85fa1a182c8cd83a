"""Thin APIs on the core, at most 150 lines each: they show that an API of another kind needs its own spelling and nothing else."""
