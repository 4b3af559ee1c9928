"""The command line's manners."""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from glow_app import __version__, cli
from glow_app.cli import COMMANDS, TRAINING, main
from glow_app.commands.parser import Parser
from glow_app.messages import closest, format_warning, pluralise, size_text

OneLine = Callable[..., str]


@pytest.fixture
def one_line(capsys: pytest.CaptureFixture[str]) -> OneLine:
    """Run a command that must be refused as wrong usage, in one line; return the line."""

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        output, errors = capsys.readouterr()
        assert output == ""
        assert errors.count("\n") == 1
        assert errors.startswith("error: ")
        return errors

    return run


def test_a_large_picture_is_read_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.new("RGB", (40, 40)).save(tmp_path / "large.png")
    assert main(["encode", str(tmp_path / "large.png"), "--output", str(tmp_path / "latents.safetensors")]) == 0
    assert not recwarn.list


def test_a_warning_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.messages._printed", set())
    assert [format_warning(text) for text in ("a", "b", "a")] == ["warning: a\n", "warning: b\n", ""]


@pytest.mark.parametrize(
    "command", [[], ["fit", "FOLDER"], ["presets", "show"], *([name] for name in (*TRAINING, *COMMANDS))]
)
def test_help_fits_80_columns(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with suppress(SystemExit):
        main([*command, "--help"])
    output = capsys.readouterr().out
    assert output.startswith("usage: glow")
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], []])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom glow_app.cli import main\n"
        f"assert main({arguments}) == 0\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pytorch_lightning', 'jsonargparse'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout


@pytest.mark.parametrize("command", [*TRAINING, *COMMANDS])
def test_help_of_a_command_does_not_import_torch(command: str) -> None:
    code = (
        "import sys\nfrom glow_app.cli import main\n"
        f"try:\n    main(['{command}', '--help'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"usage: glow {command}" in done.stdout


def test_plain_mistakes_are_found_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys\nfrom glow_app.cli import main\n"
        "for line in ('fit', 'fit nosuch', 'fit --config nosuch', 'fit nosuch --size 40', 'validate',\n"
        "             'fit --config digits --config prior/nosuch', 'presets show nosuch'):\n"
        "    assert main(line.split()), line\n"
        "heavy = {'torch', 'pytorch_lightning', 'jsonargparse'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["validate", "test"])
def test_help_of_a_command_around_training(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["--checkpoint", "x", "-h"]):
        assert main([command, *arguments]) == 0
        assert capsys.readouterr().out.startswith(f"usage: glow {command} --")


def test_help_of_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("usage: glow fit FOLDER")
    assert "--resume PATH" in output
    with pytest.raises(SystemExit):
        main(["fit", "--help-all"])
    output = capsys.readouterr().out
    assert "--data.batch_size" in output
    assert "cli.py" not in output


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(f"\n  {name} " in output for name in (*TRAINING, *COMMANDS))
    assert main([]) == 0
    assert capsys.readouterr().out == output


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"glow {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"), [("smaple", "sample"), ("train", None), ("valid", "validate"), ("recon", "reconstruct")]
)
def test_an_unknown_command(one_line: OneLine, typed: str, meant: str | None) -> None:
    line = one_line(typed)
    assert f"no command {typed}" in line
    assert meant is None or f"did you mean {meant}?" in line


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["sample", "--temprature", "1"], "--temperature"),
        (["sample", "--temperatur=1"], "--temperature"),
        (["reconstruct", "--overwrit"], "--overwrite"),
        (["export", "--outptu", "x"], "--output"),
        (["info", "--checkpiont", "x"], "--checkpoint"),
        (["sample", "--temp", "1"], "--temperature"),
    ],
    ids=str,
)
def test_an_unknown_option(one_line: OneLine, arguments: list[str], meant: str) -> None:
    required = [] if arguments[0] == "info" else ["--checkpoint", "x"]
    required += ["--output", "y"] if arguments[0] == "export" else []
    line = one_line(*arguments, *required)
    assert arguments[1].split("=")[0] in line
    assert f"did you mean {meant}?" in line


@pytest.mark.parametrize(
    "arguments",
    ["restore PICTURE", "score a.png PICTURE", "fit FOLDER", "data render faces --output x", "sample --output"],
)
def test_an_empty_argument_is_not_the_current_folder(
    one_line: OneLine, arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["" if word.isupper() else word for word in arguments.split()]
    words += [""] if words[-1] == "--output" else []
    assert "it is empty, perhaps from an unset shell variable; give a value" in one_line(*words)
    assert not list(tmp_path.iterdir())


def test_surplus_and_missing_arguments(one_line: OneLine) -> None:
    assert "unknown argument extra" in one_line("sample", "--checkpoint", "x", "extra")
    assert "PICTURE" in one_line("encode")
    assert "expected two or more" in one_line("interpolate", "a.png", "--checkpoint", "x")
    assert "--config NAME, such as folder32" in one_line("fit")
    for command in ("validate", "test"):
        assert "--checkpoint" in one_line(command)
        assert "needs a path" in one_line(command, "--checkpoint")
    assert "needs a path" in one_line("fit", "--resume")


def numbers_of(parser: argparse.ArgumentParser, command: str) -> Iterator[tuple[str, str]]:
    """Yield all options of a command, and of the commands below it, that take a number."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from numbers_of(below, f"{command} {name}")
        elif action.type not in (None, str):
            yield command, action.option_strings[0]


def every_number() -> Iterator[tuple[str, str]]:
    """Yield command and option of all that takes a number."""
    for command in COMMANDS:
        parser = Parser(prog=f"glow {command}")
        import_module(f"glow_app.commands.{command}").add_arguments(parser)
        yield from numbers_of(parser, command)


@pytest.mark.parametrize(("command", "option"), [*every_number()])
def test_text_in_the_place_of_a_number(one_line: OneLine, command: str, option: str) -> None:
    line = one_line(*command.split(), f"{option}=many")
    assert re.search(rf"argument {option}: many (is not an?|must be a) \w+", line)


def test_a_number_that_does_not_fit(one_line: OneLine) -> None:
    for option, words in {
        "--temperature=nan": "nan is not a temperature; expected a number from 0 to 100 (0.7 is usual)",
        "--temperature=0.7,inf": "inf is not a temperature; expected a number from 0 to 100 (0.7 is usual)",
        "--count=0": "0 must be a whole number, at least 1",
        "--seed=1.5": "1.5 is not a seed; expected 0 to 2147483647",
        "--seed=-1": "-1 is not a seed; expected 0 to 2147483647",
    }.items():
        line = one_line("sample", option)
        assert f"argument {option.partition('=')[0]}: {words}\n" in line


FLOW = ["--model.flow", "glow_app.flows.Glow", "--model.flow.image_shape", "[1,8,8]"]


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--trainer.max_epoch=3", "--trainer.max_epochs"),
        ("--trainer.max_epo=3", "--trainer.max_epochs"),
        ("--model.numbits=3", "--model.num_bits"),
        ("--data.batchsize=3", "--data.batch_size"),
        ("--ema.decy=0.5", "--ema.decay"),
        ("--nam=x", "--name"),
    ],
)
def test_an_unknown_option_of_fit(one_line: OneLine, option: str, meant: str) -> None:
    line = one_line("fit", *FLOW, option)
    assert option.split("=")[0].split(".")[-1] in line
    assert f"did you mean {meant}?" in line


def test_an_unknown_key_of_a_configuration(one_line: OneLine, tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text("data:\n  batchsize: 3\n")
    line = one_line("fit", *FLOW, "--config", str(tmp_path / "typo.yaml"))
    assert "data.batchsize" in line


@pytest.mark.parametrize("option", ["--data.batch_size=many", "--data.resize=foo", "--model.flow.num_steps=x"])
def test_a_value_of_the_wrong_type(one_line: OneLine, option: str) -> None:
    name, _, value = option.rpartition(".")[2].partition("=")
    line = one_line("fit", *FLOW, option)
    assert line.startswith("error: glow fit: ")
    assert name in line
    assert value in line


@pytest.mark.parametrize(
    ("arguments", "code", "kind"), [(["info", "none.ckpt"], 1, "FileNotFoundError"), (["smaple"], 2, "UsageError")]
)
def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, kind: str
) -> None:
    assert main(arguments) == code
    assert capsys.readouterr().err.startswith("error: ")
    for debugged in (["--debug", *arguments], [*arguments, "--debug"]):
        assert main(debugged) == code
        errors = capsys.readouterr().err
        assert errors.startswith("Traceback")
        assert f"{kind}: " in errors


def test_work_goes_on_when_its_reader_has_gone(tmp_path: Path) -> None:
    done = tmp_path / "done"
    code = (
        "import pathlib, sys\nfrom glow_app import cli\n"
        "def work():\n"
        "    for number in range(3):\n        print('a row', flush=True)\n        print('a warning', file=sys.stderr)\n"
        f"    pathlib.Path({str(done)!r}).touch()\n    return 3\n"
        "cli.main = work\nsys.exit(cli.start())"
    )
    ends = [os.pipe(), os.pipe()]
    for reader, _ in ends:
        os.close(reader)
    code_of = subprocess.run([sys.executable, "-c", code], stdout=ends[0][1], stderr=ends[1][1], check=False)
    assert code_of.returncode == 3
    assert done.exists()


@pytest.mark.parametrize("ending", ["> /dev/full", "2>&- > /dev/null"])
def test_odd_streams_and_folders_end_without_a_traceback(tmp_path: Path, ending: str) -> None:
    (tmp_path / "folder").mkdir()
    glow = f"{sys.executable} -m glow_app.cli models"
    script = f"cd folder && rmdir ../folder && {glow} {ending}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (1 if "full" in ending else 0), done.stderr


def test_a_name_that_is_no_text_is_printed_escaped() -> None:
    code = "import sys\nfrom glow_app import cli\ncli.main = lambda: print('a\\udcffb') or 0\nsys.exit(cli.start())"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, b"a\\udcffb\n"), done.stderr


def test_control_c_during_the_imports_is_answered_by_the_command() -> None:
    # A module that interrupts the process when it is imported stands for the time that imports take.
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in what a shell runs in the background
        "class Finder:\n"
        "    @staticmethod\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'glow_app.commands.allocator':\n            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "from glow_app.__main__ import start\nsys.exit(start())"
    )
    environment = {**os.environ, "GLIBC_TUNABLES": ""}  # so that the process does not restart, without the finder
    command = [sys.executable, "-c", code, "models"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_errors_go_through_the_installed_command(tmp_path: Path) -> None:
    glow = [sys.executable, "-m", "glow_app.cli", "info", "none.ckpt"]
    done = subprocess.run(glow, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: no checkpoint none.ckpt; give a .ckpt file, an exported model or a run's folder"
    ]
    done = subprocess.run([*glow, "--debug"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "FileNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("a\n  b"), 1, "error: a b"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "error: /x/y: Permission denied"),
        (RuntimeError("deep"), 1, "error: RuntimeError: deep (--debug shows where)"),
        (argparse.ArgumentError(None, "of a library"), 1, "error: of a library (--debug shows where)"),
        (ValueError(), 1, "error: ValueError:  (--debug shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_any_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["sample"]) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_words_for_numbers() -> None:
    assert [pluralise(number, "image") for number in (0, 1, 3000)] == ["0 images", "1 image", "3,000 images"]
    assert [size_text(28, 28), size_text(1200, 300)] == ["28x28", "1200x300 (width x height)"]


def test_closest() -> None:
    assert closest("temprature", ["temperature", "count"]) == "; did you mean temperature?"
    assert closest("xyz", ["temperature", "count"]) == ""
    assert closest("--count", ["--output", "--root"]) == ""
    assert closest("--cuont", ["--output", "--count"]) == "; did you mean --count?"


def test_sigterm_unwinds_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    unwound = []

    def dispatch(arguments: list[str]) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # a second one does not interrupt
            unwound.append("record")
        return 0

    monkeypatch.setattr(cli, "_dispatch", dispatch)
    earlier = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as stopped:
            main(["sample"])
        assert stopped.value.code == 143
        assert unwound == ["record"]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, earlier)


def test_the_handlers_of_a_calling_program_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    received = []

    def dispatch(arguments: list[str]) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    monkeypatch.setattr(cli, "_dispatch", dispatch)
    earlier = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        assert main(["sample"]) == 0
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert received == [signal.SIGTERM]


def test_a_command_runs_in_a_thread() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_the_package_is_the_command() -> None:
    command = [sys.executable, "-m", "glow_app", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"glow {__version__}\n"
