"""Errors of usage, told in one line."""

__all__ = ["UsageError", "suggestion"]


class UsageError(Exception):
    """The command line is wrong; the message is for the person who typed it."""
