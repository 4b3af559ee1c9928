"""``python -m glow_app`` and ``glow``: the command, whose imports Ctrl-C does not interrupt."""

import signal
import sys


def start() -> int:
    """Run the command line; Ctrl-C waits until :func:`glow_app.cli.main` answers it, also across its restart."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    from glow_app import cli

    return cli.start()


if __name__ == "__main__":
    sys.exit(start())
