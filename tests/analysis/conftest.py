"""Lets the tests here import `made`, the builders they share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
