"""Lets the tests here import `streams`, the answers they share, and `recorded`, those of real servers."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "wire")]
