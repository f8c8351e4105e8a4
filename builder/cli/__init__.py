"""The command line: ``salient-imagenet``."""

from __future__ import annotations

import sys
from importlib.util import find_spec

REQUIRED = (
    "httpx2",
    "huggingface_hub",
    "jinja2",
    "rich",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
    "typer",
    "upath",
    "yaml",
)
"""What the extra ``build`` brings, by the names that are imported."""


def main() -> None:
    """Run ``salient-imagenet``; where only the loader is installed, say what else to install."""
    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"Error: salient-imagenet needs more than the loader does ({', '.join(missing)}): "
            "pip install 'salient-imagenet-1m[build]', or pip install -e '.[build]' in a clone.\n"
        )
        sys.exit(2)
    from builder.cli.app import run  # noqa: PLC0415 (which imports what may be missing)

    run()
