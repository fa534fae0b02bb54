"""Makes the package and team_code importable for a benchmark that is run from any folder, installed or not.

from repository import ROOT     # the first import of this project in a benchmark
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
