"""Progress bars on a terminal."""

from pathlib import Path

import pytest
from PIL import Image

from glow_app.cli import main


@pytest.mark.parametrize(
    ("doing", "arguments"),
    [
        ("encoding", "encode pictures --batch-size 1"),
        ("decoding", "decode latents.safetensors --batch-size 1"),
        ("reconstructing", "reconstruct pictures --batch-size 1"),
        ("reconstructing", "reconstruct --source digits --count 4 --batch-size 2"),
        ("interpolating", "interpolate pictures/a.png pictures/b.png pictures/c.png"),
        ("learning without", "edit learn big --with pictures --without others --directions . --batch-size 1"),
        ("learning", "edit learn --attributes table.csv --directions . --batch-size 1"),
        ("editing", "edit apply pictures --direction big --directions ."),
        ("drawing", "sample --count 2 --seed 0"),
        ("scoring", "score pictures/a.png large.png --batch-size 1"),
    ],
)
def test_a_bar_is_shown_on_a_terminal_alone_and_leaves_the_output_alone(
    doing: str,
    arguments: str,
    trained: Path,
    pictures: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pictures[0].parents[1])
    Path("others").mkdir()
    for picture in pictures:
        Image.open(picture).rotate(90).save(f"others/{picture.name}")
    Image.new("L", (9, 9)).save("large.png")
    Path("table.csv").write_text("file,big\npictures/a.png,1\npictures/b.png,0\npictures/c.png,1\n")
    model = ["--checkpoint", str(trained)]
    main(["encode", *map(str, pictures), *model])
    main(["edit", "learn", "big", "--with", "pictures", "--without", "others", "--directions", ".", *model])
    capsys.readouterr()
    words = [*arguments.split(), *model, "--overwrite"]
    assert main(words) == 0
    plain, drawn = capsys.readouterr(), {path: path.read_bytes() for path in Path("samples").glob("*")}
    assert doing not in plain.err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(words) == 0
    shown = capsys.readouterr()
    assert doing in shown.err
    assert shown.out == plain.out
    assert shown.out.startswith("large.png: 9x9 resized and cropped to 8x8") == ("large.png" in words)
    assert {path: path.read_bytes() for path in drawn} == drawn
