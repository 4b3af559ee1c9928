"""The parser of commands: options in full, errors of one line."""

import argparse
from typing import Any, NoReturn

from glow_app.messages import UsageError, closest

__all__ = ["Parser"]


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds defaults to the help where they say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argparse parser that refuses abbreviations, suggests what was meant, and raises instead of exiting."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **kwargs)

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Parse ``arguments``.

        Raises:
            UsageError: If one is unknown, missing or has no valid value.
        """
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            word = unknown[0].split("=")[0]
            hint = closest(word, self._option_string_actions) if word.startswith("-") else ""
            self.error(f"unknown argument {word}{hint}")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise the message as a :class:`UsageError`."""
        raise UsageError(f"{self.prog}: {message}")
