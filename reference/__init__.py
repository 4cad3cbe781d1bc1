"""Solutions of the katas, and a trainer worth reading: `python -m reference.mnist`."""
