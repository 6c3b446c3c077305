"""Where things are."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""

SCRIPTS = Path(sys.executable).parent
"""The commands of this virtual environment."""
