"""The `glow` command. Heavy modules are imported only by the command that runs."""

import io
import os
import signal
import sys
import traceback
import warnings
from importlib import import_module
from types import FrameType
from typing import NoReturn

from glow_app.commands.parser import Parser
from glow_app.messages import UsageError, closest, failures, format_warning, printable
from glow_app.spec import IMPORTED
from glow_app.storage.model_folders import refuse_missing

# The modules of glow_app.commands. They are imported by name, here alone, so that a command loads only what it needs;
# import-linter does not see this, and need not, as no layer is above.
COMMANDS = {
    "fit": "train a model: glow fit FOLDER, or glow fit --config NAME",
    "presets": "list the configurations for glow fit --config, or show one",
    "sample": "draw images at a temperature",
    "interpolate": "interpolate between images",
    "edit": "learn attributes from examples, and edit pictures",
    "restore": "clean, enlarge, colour or fill pictures",
    "reconstruct": "encode and decode images, and report the error",
    "score": "score how likely and how unusual images are",
    "test": "bits/dim of held-out images",
    "evaluate": "evaluate a model: likelihood, FID, copies, exactness",
    "encode": "write the latents of images to a file",
    "decode": "decode latents to images",
    "serve": "serve a model: HTTP API and web page",
    "data": "render faces",
    "export": "export the weights, or a sampler as a torch.export program",
    "models": "list the bundled models",
    "info": "show the metadata of a model, checkpoint or sample",
}
_HELP = """usage: glow COMMAND [OPTIONS]

Exact-likelihood image generation with Glow.

commands:
{commands}

options:
  -h, --help   print this help; glow COMMAND --help lists its options
  --version    print the version
  --debug      show the traceback of an error
  --import MODULE
               import a module that registers parts of your own, such as a
               prior; see docs/priors.md"""

# Settings of glibc's allocator, which allocates all CPU tensors. Huge pages of 2 MB where available (glibc 2.35 or
# newer); and a single arena for all threads that keeps up to 2 GB of freed memory, because returning it would make the
# next allocation fault in every page again.
_TUNABLES = {"hugetlb": 1, "mmap_threshold": 2**30 - 1, "trim_threshold": 2**31 - 1, "arena_max": 1}


def start() -> int:
    """Set up the process, and run its command line."""
    restart_with_huge_pages()
    # Threads of GNU OpenMP wait by spinning. If a second busy process shares the cores, they take time from the very
    # thread that they wait for, many times as much as with this limit. A single process loses nothing. OpenMP reads the
    # variable when torch is imported, which happens later.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # file names may be invalid text
    # Like Ctrl-C, so that records are written and temporary files removed; some commands have handlers of their own.
    signal.signal(signal.SIGTERM, _exit_on_signal)
    return main()


def restart_with_huge_pages() -> None:
    """Restart this program once with allocator settings for large tensors.

    Cuts CPU sampling time by up to half; training steps gain on some CPUs only. Results stay the same. The restart is
    needed because glibc reads these settings only at the start of a process. Does nothing with other C libraries, or if
    the environment has its own settings.
    """
    is_set = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if is_set or "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}):
        return
    tunables = ":".join(f"glibc.malloc.{name}={value}" for name, value in _TUNABLES.items())
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "GLIBC_TUNABLES": tunables})


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    It is 0; 1 for a failure, also of a part; 2 for wrong usage; 128 + N for signal N.
    """
    failures.clear()
    warnings.formatwarning = format_warning
    # Pillow's warning for pictures that it decodes anyway; it does not name the file.
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _dispatch(_import_modules([argument for argument in arguments if argument != "--debug"]))
        return int(bool(failures))
    except KeyboardInterrupt as interrupt:
        print("; ".join(["interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of the output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exception(error)
        else:
            print(f"error: {printable(_one_line(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _exit_on_signal(number: int, _: FrameType | None) -> NoReturn:
    # `timeout` and service managers often send a second signal, which would interrupt the writing of a record.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _import_modules(arguments: list[str]) -> list[str]:
    """Import the modules of ``--import``; return the other arguments."""
    parser = Parser(prog="glow", add_help=False)
    parser.add_argument("--import", dest="modules", action="append", default=[])
    options, rest = parser.parse_known_args(arguments)
    IMPORTED[:] = options.modules
    for name in options.modules:
        try:
            import_module(name)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"--import {name}: {error}; expected a module of an installed package, or one in PYTHONPATH"
            ) from error
    return rest


def _dispatch(arguments: list[str]) -> None:
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help"):
        print(_HELP.format(commands="\n".join(f"  {name:<12} {text}" for name, text in COMMANDS.items())))
    elif command == "--version":
        print(f"glow {import_module('glow_app').__version__}")
    elif command == "fit":  # another parser reads its options with dots
        import_module("glow_app.commands.fit").main(rest)
    elif command in COMMANDS:
        module = import_module(f"glow_app.commands.{command}")
        parser = Parser(prog=f"glow {command}", description=module.__doc__)
        module.add_arguments(parser)
        options = parser.parse(rest)
        if getattr(options, "checkpoint", None) is not None:
            refuse_missing(options.checkpoint)  # before heavy modules are imported
        module.run(options)
    else:
        raise UsageError(f"there is no command {command}{closest(command, COMMANDS)} (see glow --help)")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in ("", "glow_app", "lightning_modules"):
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
