"""Lets the tests of the whole system share `tests.scenarios`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
