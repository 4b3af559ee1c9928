"""``python -m glow_app``: the ``glow`` command."""

import sys

from glow_app.cli import start

if __name__ == "__main__":
    sys.exit(start())
