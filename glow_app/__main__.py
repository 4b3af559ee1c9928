"""Entry point of ``python -m glow_app``."""

import sys

from glow_app.cli import start

if __name__ == "__main__":
    sys.exit(start())
