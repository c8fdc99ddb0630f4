"""Where lies what these tests make or fetch once: outside the clone, so that other clones find it too."""

import os
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "comanda"
