"""Lets the tests here import `scripted` from beside them."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "wire")]
