"""Progress bars on a terminal."""

from pathlib import Path

import pytest
from PIL import Image

from glow_app import progress
from glow_app.cli import main
from glow_app.progress import tracked


def test_progress_bars_appear_only_on_a_terminal_and_leave_the_output_unchanged(
    exported: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("others", "more"):
        Path(folder).mkdir()
    Image.new("L", (9, 9)).save("others/large.png")
    Image.new("L", (8, 8)).save("others/small.png")
    for doing, arguments in {
        "encoding": "encode others --batch-size 1",
        "learning": "edit learn big --with pictures --without others --directions . --batch-size 1",
        "drawing": "sample --count 2 --seed 0",
    }.items():
        words = [*arguments.split(), "--checkpoint", str(exported), "--overwrite"]
        results = []
        for is_terminal in (False, True):
            monkeypatch.setattr("sys.stderr.isatty", lambda is_terminal=is_terminal: is_terminal)
            assert main(words) == 0, words
            output, errors = capsys.readouterr()
            assert (doing in errors) == is_terminal
            results.append(output)
        assert results[0] == results[1]
        assert ("large.png: reduced to 8x8" in results[0]) == ("others" in arguments)


def test_steps_of_long_items_advance_the_bar_and_its_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: clock[0])
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    items = tracked("abc", 3, "restoring")
    for number, _ in enumerate(items):
        ((bar, _),) = progress._shown
        assert bar.tasks[0].completed == number
        for step, _ in enumerate(tracked(range(4), 4, "restoring")):
            assert bar.tasks[0].completed == number + step / 4
            if number + step / 4 > 0.25:
                assert bar.tasks[0].time_remaining == 4 * 40 * (3 - number - step / 4)
            clock[0] += 40  # seconds
    assert not progress._shown
