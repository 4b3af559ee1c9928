"""The `glow` command. Heavy modules are imported only by the command that runs."""

import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

from glow_app import ALLOWED_VARIABLE
from glow_app.commands.allocator import begin_with_huge_pages
from glow_app.commands.names import COMMANDS, TRAINING
from glow_app.commands.parser import Parser
from glow_app.messages import UsageError, closest, format_warning, printable

OWN = ("glow_app", "lightning_modules")


def start() -> int:
    """Set up the process, and run its command line."""
    _exclude_current_folder()
    begin_with_huge_pages()
    _tolerate_closed_pipes()
    code = main()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # reported already; at exit Python would retry, and print a traceback
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for a failure, 2 for wrong usage.

    Raises:
        SystemExit: With code 143, after SIGTERM.
    """
    _limit_spinning()
    warnings.formatwarning = format_warning
    # Pillow's warning for pictures that it decodes anyway; it does not name the file.
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    with _unwinding_on_sigterm():
        return _run(arguments, debug)


def _run(arguments: list[str], debug: bool) -> int:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        with _allowing_classes(arguments) as rest:
            return _dispatch(rest)
    except KeyboardInterrupt as interrupt:
        print("; ".join(["interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        else:
            print(f"error: {printable(_one_line(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


@contextmanager
def _allowing_classes(arguments: list[str]) -> Iterator[list[str]]:
    """Keep the classes of ``--allow-class`` in the environment, for child processes too; yield the other arguments."""
    parser = Parser(prog="glow", add_help=False)
    parser.add_argument("--allow-class", action="append", default=[])
    options, rest = parser.parse_known_args(arguments)
    before = os.environ.get(ALLOWED_VARIABLE, "")
    os.environ[ALLOWED_VARIABLE] = ",".join(filter(None, [before, *options.allow_class]))
    try:
        yield rest
    finally:
        os.environ[ALLOWED_VARIABLE] = before


def _limit_spinning() -> None:
    # Threads of GNU OpenMP wait by spinning. If a second busy process shares the cores, they take time from the very
    # thread that they wait for, and a step takes 30 times as long. With this limit it takes 7 times as long, and a
    # single process loses nothing. OpenMP reads the variable when torch is imported, which happens later.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


class _PipeTolerantFile(io.FileIO):
    """A file that discards output once its reader, such as `head`, has closed the pipe, so that the command goes on."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(content)


def _tolerate_closed_pipes() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            continue
        if not stream.isatty():
            file = io.BufferedWriter(_PipeTolerantFile(stream.fileno(), "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(file, stream.encoding, line_buffering=True))
        getattr(sys, name).reconfigure(errors="backslashreplace")  # file names may be invalid text


def _exclude_current_folder() -> None:
    # Child processes started with -c or -m, as by multiprocessing, have the current folder first in their module path,
    # and would run modules of an untrusted folder. After `python -m` it is in this process's path already.
    with suppress(FileNotFoundError):  # the current folder was deleted, and so is empty
        if not {"", os.getcwd()}.intersection(sys.path):
            os.environ.setdefault("PYTHONSAFEPATH", "1")


@contextmanager
def _unwinding_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the command, as Ctrl-C does, so that records are written and temporary files removed.

    Handlers of a calling program, and those that a command sets itself, are kept.
    """
    # Python allows signal handlers only in the main thread.
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _unwind(number: int, _: FrameType | None) -> NoReturn:
    # `timeout` and service managers often send a second signal, which would interrupt writing the record.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(f"glow {import_module('glow_app').__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command in TRAINING:
        import_module("lightning_modules.commands").main(command, rest)
    elif command in COMMANDS:
        module = import_module(f"glow_app.commands.{command}")
        parser = Parser(prog=f"glow {command}", description=module.__doc__)
        module.add_arguments(parser)
        module.run(parser.parse(rest))
    else:
        raise UsageError(f"there is no command {command}{closest(command, [*TRAINING, *COMMANDS])} (see glow --help)")
    return 0


def _help() -> str:
    commands = "\n".join(f"  {name:<12} {text}" for name, text in {**TRAINING, **COMMANDS}.items())
    return (
        "usage: glow COMMAND [OPTIONS]\n\n"
        "Exact-likelihood image generation with Glow.\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n"
        "  -h, --help   print this help; glow COMMAND --help lists its options\n"
        "  --version    print the version\n"
        "  --debug      show the traceback of an error\n"
        "  --allow-class CLASS\n"
        "               let a model name a prior, conditioner or task of your own,\n"
        "               such as my_package.MyPrior"
    )


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and (package := (error.name or "glow_app").partition(".")[0]) not in OWN:
        remedy = f"run: pip install {package}, or build the image with PACKAGES=train"
        return f"the package {package} is not installed; {remedy}"
    text = str(error)
    if text.startswith("Caught ") and "\nOriginal Traceback" in text:
        # The message of an error in a loader worker is its whole traceback, which ends with the original message.
        text = text.rstrip().rpartition("\n")[2].partition(": ")[2] or text
    text = " ".join(text.split())
    text = text if len(text) <= 600 else f"{text[:600]} ..."
    if isinstance(error, (ValueError, OSError, FloatingPointError, UsageError)) and text:
        return text
    name = f"{type(error).__name__}: " if type(error).__module__ == "builtins" or not text else ""
    return f"{name}{text} (--debug shows where)"


if __name__ == "__main__":
    sys.exit(start())
