"""The report of a run."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from glow_app.evaluation import report

PLOT = report._plot

METRICS = """epoch,lr/pg1,step,train/bpd,images_per_second,val/bpd
,0.001,9,,,
0,,9,4.5,31.0,
0,,9,,,3.25
,0.002,19,,,
1,,19,2.5,33.0,
1,,19,,,2.125
1,,29,,,2.5
2,,39,nan,32.0,
2,,39,,,inf
"""


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_report_shows_what_the_folder_holds_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_plot", PLOT)
    run = tmp_path / "a run"
    (run / "samples").mkdir(parents=True)
    (run / "metrics.csv").write_text(METRICS)
    (run / "config.yaml").write_text("name: cats & <dogs>\nflow: {type: glow}\n")
    for step in range(10, 310, 10):
        Image.new("RGB", (40, 30)).save(run / f"samples/step{step:07d}.png")
    psnr, ssim = {"mean": 31.25}, {"mean": 0.9}
    kinds = {"draw": {"name": "single < draw", "psnr": psnr, "ssim": ssim}}
    (run / "evaluation.json").write_text(json.dumps({"restorations": kinds, "verdict": ["FID < 3", "no copies"]}))
    page = report.write_report(run).read_text()
    assert "<h1>cats &amp; &lt;dogs&gt;</h1>" in page
    assert "<td>validation bits/dim<td>2.500 at step 30<td>2.125 at step 20\n" in page
    assert "<td>images per second<td>32 at step 40\n" in page
    assert "<li>FID &lt; 3" in page
    assert "<td>single &lt; draw<td>31.25 dB<td>0.9000" in page
    assert f"glow fit --resume &#x27;{run}&#x27;" in page
    captions = [part.split("<")[0] for part in page.split("<figcaption>")[1:]]
    assert captions == ["", "step 300", *(f"step {step}" for step in range(10, 300, 50))]
    parser = Links()
    parser.feed(page)
    assert len(parser.links) == len(captions)
    assert all(link.startswith("data:image/jpeg;base64,") for link in parser.links)
    with Image.open(io.BytesIO((run / "curves.png").read_bytes())) as curves:
        assert curves.width > 800
        assert len(curves.convert("RGB").getcolors(1 << 16) or []) > 10
