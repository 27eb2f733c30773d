"""Packages of npm for tests, fetched once for each list of them."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from platformdirs import user_cache_path

NODE, NPM = shutil.which("node"), shutil.which("npm")
INSTALL = ("install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")


def installed(listed: Path) -> Path:
    """Return the `node_modules` of a `package.json`."""
    place = user_cache_path("vivavoce-conformance") / sha256(listed.read_bytes()).hexdigest()[:16]
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place.parent) as scratch:
            fresh = Path(scratch, "packages")
            fresh.mkdir()
            shutil.copy(listed, fresh)
            subprocess.run([str(NPM), *INSTALL], cwd=fresh, check=True)
            fresh.rename(place)
    return place / "node_modules"
