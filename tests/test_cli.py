"""The command line: help, errors in one line, exit codes, streams and signals."""

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from glow_app import __version__, cli
from glow_app.cli import COMMANDS, main
from glow_app.commands.parser import Parser

OneLine = Callable[..., str]


@pytest.fixture
def one_line(capsys: pytest.CaptureFixture[str]) -> OneLine:
    """Run a command that must be refused as wrong usage, and return its one-line message."""

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        output, errors = capsys.readouterr()
        assert output == ""
        assert errors.count("\n") == 1
        assert errors.startswith("error: ")
        return errors

    return run


@pytest.mark.parametrize(
    "command",
    [[], ["fit", "FOLDER"], ["edit", "learn"], ["edit", "apply"], *([name] for name in COMMANDS)],
    ids=" ".join,
)
def test_help_fits_80_columns(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with suppress(SystemExit):  # argparse's
        main([*command, "--help"])
    output = capsys.readouterr().out
    assert output.startswith(f"usage: glow {' '.join(command)}".rstrip())
    assert command or all(f"\n  {name} " in output for name in COMMANDS)
    assert max(map(len, output.splitlines())) <= 80


def test_help_and_simple_mistakes_import_nothing_heavy() -> None:
    code = (
        "import contextlib, io, sys\nfrom glow_app.cli import COMMANDS, main\n"
        "def run(*lines, without):\n"
        "    for line in lines:\n"
        "        with contextlib.suppress(SystemExit):\n            main(line.split())\n"
        "        assert not {'torch', *without} & set(sys.modules), line\n"
        "run('--help', '--version', 'fit --help', without={'numpy', 'PIL', 'pytorch_lightning'})\n"
        "run('fit', 'fit nosuch', 'fit --config nosuch', 'test', without={'pytorch_lightning'})\n"
        "run(*(f'{command} --help' for command in COMMANDS), without=())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"glow {__version__}\n" in done.stdout
    assert done.stderr.count("error: ") == done.stderr.count("\n") == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("smaple", "no command smaple; did you mean sample?"),
        ("sample --temprature 1", "did you mean --temperature?"),
        ("export --outptu x --output y", "did you mean --output?"),
        ("sample extra", "unknown argument extra"),
        ("fit", "--config NAME, such as folder32"),
        ("sample --output ''", "the value is empty"),
        ("sample --temperature=nan", "--temperature: must be a number from 0 to 100, got 'nan'"),
        ("sample --guidance=10.5", "--guidance: must be a number from 0 to 10, got"),
        ("sample --seed=2147483648", "--seed: must be a whole number from 0 to 2147483647, got"),
        ("score --output out.png x", "out.png is the name of a file; expected a folder for the results"),
    ],
)
def test_wrong_usage_is_one_line(
    one_line: OneLine, arguments: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in one_line(*("" if word == "''" else word for word in arguments.split()))
    assert not list(tmp_path.iterdir())


def numbers_of(parser: argparse.ArgumentParser, command: str) -> Iterator[tuple[str, str]]:
    """Yield all options of a command and its subcommands that take a number."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from numbers_of(below, f"{command} {name}")
        elif action.type not in (None, str) and action.dest != "output":
            yield command, action.option_strings[0]


def test_text_instead_of_a_number_is_refused(one_line: OneLine) -> None:
    for command in COMMANDS:
        parser = Parser(prog=f"glow {command}")
        import_module(f"glow_app.commands.{command}").add_arguments(parser)
        for words, option in numbers_of(parser, command):
            line = one_line(*words.split(), f"{option}=many")
            assert re.search(rf"argument {option}: must be .*, got 'many'", line)


@pytest.mark.parametrize(
    ("arguments", "code", "kind"), [(["info", "none.ckpt"], 1, "FileNotFoundError"), (["smaple"], 2, "UsageError")]
)
def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, kind: str
) -> None:
    for debugged in (["--debug", *arguments], [*arguments, "--debug"]):
        assert main(debugged) == code
        errors = capsys.readouterr().err
        assert errors.startswith("Traceback")
        assert f"{kind}: " in errors


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("a\x1b[2J"), 1, "error: a\\x1b[2J"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "error: /x/y: Permission denied"),
        (RuntimeError("deep"), 1, "error: RuntimeError: deep (--debug shows where)"),
        (argparse.ArgumentError(None, "of a library"), 1, "error: of a library (--debug shows where)"),
        (KeyboardInterrupt("saved"), 130, "interrupted; saved"),
    ],
)
def test_any_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    def fail(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["sample"]) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_modules_are_imported_before_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "imported_first.py").write_text("")
    received: list[object] = []
    monkeypatch.setattr(cli, "_dispatch", lambda rest: received.extend([rest, "imported_first" in sys.modules]))
    assert main(["info", "--import=imported_first", "x"]) == 0
    assert received == [["info", "x"], True]
    assert main(["info", "x", "--import", "not.there"]) == 2
    assert "--import not.there: No module named 'not'" in capsys.readouterr().err


def test_a_closed_pipe_ends_a_command_silently(tmp_path: Path) -> None:
    script = f"{sys.executable} -m glow_app presets | true; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{128 + signal.SIGPIPE}\n", "")


RESTARTED = """
import os, sys
from glow_app.cli import restart_with_huge_pages
print("start", flush=True)
restart_with_huge_pages()
print(sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), sep="|")
"""


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="not glibc")
@pytest.mark.parametrize("settings", [{}, {"GLIBC_TUNABLES": "1"}])
def test_the_program_restarts_once_with_huge_pages_unless_the_environment_has_settings(
    settings: dict[str, str],
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC_TUNABLES", "MALLOC_"))}
    command = [sys.executable, "-c", RESTARTED, "--count", "a b"]
    done = subprocess.run(command, env={**kept, **settings}, capture_output=True, text=True, check=True)
    *starts, last = done.stdout.splitlines()
    assert starts == ["start"] * (1 if settings else 2)
    arguments, tunables = last.split("|")
    assert arguments == "['--count', 'a b']"
    assert settings or "glibc.malloc.hugetlb=1" in tunables
