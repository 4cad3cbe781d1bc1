"""The engine of the katas: a pytest plugin (`dojo.plugin`) in rooms, and what kata files import.

A kata imports `under_test` from here and its helpers from `dojo.kit`. This module imports nothing heavy:
the plugin must set OMP_NUM_THREADS before torch is imported for the first time.
"""

from dojo.kata.mistakes import Mistake
from dojo.kata.seam import under_test

__all__ = ["Mistake", "under_test"]
