import shutil
import subprocess
from pathlib import Path

import pytest

from glow_app.cli import COMMANDS, TRAINING, main
from glow_app.storage.places import bundled_models

pytest.importorskip("shtab")
BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shell") / "glow.bash"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr("sys.stdout", file)
        assert main(["completion", "bash"]) == 0
    return path


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], [*TRAINING, *COMMANDS]),
        (["sample", "--che"], ["--checkpoint"]),
        (["sample", "--checkpoint", ""], [*bundled_models(), "mine"]),
        (["info", "mi"], ["mine"]),
        (["fit", "mi"], ["mine"]),
        (["fit", "--config", "prior/m"], ["prior/maf"]),
        (["fit", "--res"], ["--resume"]),
        (["presets", "show", "digi"], ["digits"]),
        (["edit", "apply", "--str"], ["--strength"]),
    ],
)
def test_bash_completes(script: Path, words: list[str], expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    line = 'source "$0"; COMP_WORDS=(glow "$@"); COMP_CWORD=$#; _shtab_glow; printf "%s\\n" "${COMPREPLY[@]}"'
    command = [str(BASH), "--norc", "-c", line, str(script), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert sorted(done.stdout.split()) == sorted(expected)


def test_zsh_has_a_script_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("#compdef glow\n")
    assert f"_glow_models_files() {{ compadd {' '.join(bundled_models())}; _files; }}" in output


def test_other_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 2
    assert "argument shell: invalid choice: 'fish'" in capsys.readouterr().err
