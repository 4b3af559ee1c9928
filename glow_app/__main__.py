"""Entry point of ``python -m glow_app`` and ``glow``; Ctrl-C does not interrupt its imports."""

import signal
import sys


def start() -> int:
    """Run the command line; Ctrl-C is blocked until :func:`glow_app.cli.main` handles it, even across its restart."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    from glow_app import cli

    return cli.start()


if __name__ == "__main__":
    sys.exit(start())
