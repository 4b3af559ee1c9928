"""The report of a run: one page, ``report.html``, of what its folder holds."""

import base64
import csv
import io
import json
import shlex
from collections.abc import Iterable, Mapping
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

from PIL import Image

from glow_app.files import atomic_file
from glow_app.storage.run_config import RUN_CONFIG, read_yaml

METRICS, REPORT, CURVES, EVALUATION = "metrics.csv", "report.html", "curves.png", "evaluation.json"
_NUM_EARLIER, _WIDE, _NARROW = 6, 1200, 400  # grids of samples over time, and widths of pictures in pixels

# Figures, the most important one first, with their name, the axis that they share, and their meaning.
_FIGURES = {
    "val/psnr": ("validation PSNR", "dB", "restored pictures that training does not see; higher is better"),
    "val/bpd": (
        "validation bits/dim",
        "bits/dim",
        "pictures that training does not see: the bits per value of a lossless code; lower is better",
    ),
    "train/bpd": (
        "training bits/dim",
        "bits/dim",
        "pictures of a training step; far lower than in validation means that the model memorises",
    ),
    "images_per_second": ("images per second", "images/s", "speed of training, without validation"),
}
# Rows of the table after `glow evaluate`: figure, factor, meaning.
_COMPARED = {
    "fid": ("FID", 1, "distance of the samples from pictures held out; lower is better, and few pictures raise it"),
    "kid": ("KID x 1000", 1000, "such a distance that few pictures do not raise; lower is better, and 0 is ideal"),
    "precision": ("precision", 1, "share of the samples that resemble real pictures; higher is better"),
    "recall": ("recall", 1, "share of the real pictures that samples resemble; higher is better"),
}
_CODE = "bits per value of a lossless code for the pictures held out; lower is better, and the reference is their PNG"
_REFERENCE = "The reference of the last four is real pictures in place of samples, which is what a perfect model gets."
_ALIKE = "Likeness to the originals, by pixels (PSNR) and by structure (SSIM, at most 1); higher is better."
_HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
img { max-width: 100%; border-radius: 4px }
.earlier { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0 } .earlier img { width: 18rem }
td, th { padding: .5rem 1.5rem 0 0; text-align: left; vertical-align: top }
.meaning { opacity: .75 } .meaning td { padding-top: 0 }
pre { overflow-x: auto; padding: .75rem; background: #8882; border-radius: 4px }
"""

_RATE = "learning rate"
Curve = tuple[list[int], list[float]]  # steps and values


def write_report(run: Path) -> Path:
    """Write ``report.html`` and ``curves.png`` of the run in a folder, and return the path of the former.

    They show ``metrics.csv`` and ``config.yaml``, and the grids of samples and ``evaluation.json``, if they are
    there.
    """
    curves, config = _read_curves(run / METRICS), (run / RUN_CONFIG).read_text(encoding="utf-8")
    settings = read_yaml(config)
    with atomic_file(run / CURVES) as file:
        file.write(_plot(curves))
    parts = [_figure(run / CURVES, "", _WIDE), _training(curves)]
    if grids := sorted((run / "samples").glob("step*.png")):
        *earlier, latest = grids
        shown = earlier[:: len(earlier) // _NUM_EARLIER + 1]
        pictures = [_figure(path, _step(path), _NARROW) for path in shown]
        parts += ["<h2>Samples</h2>", _figure(latest, _step(latest), _WIDE)]
        parts += ["<h2>Earlier samples</h2><div class=earlier>", *pictures, "</div>"]
    if (run / EVALUATION).exists():
        record = json.loads((run / EVALUATION).read_text(encoding="utf-8"))
        parts += ["<h2>Evaluation</h2>", _evaluation(record)]
        parts += ["<ul>", *(f"<li>{escape(line)}" for line in record["verdict"]), "</ul>"]
    restores = (settings["flow"].get("conditioning") or {}).get("type") == "picture"
    words = ("restore PICTURES", "evaluate", "serve") if restores else ("sample", "evaluate", "score PICTURES", "serve")
    place = shlex.quote(str(run))
    commands = [f"glow {word} --checkpoint {place}" for word in words] + [f"glow fit --resume {place}"]
    parts += ["<h2>Going on</h2>", f"<pre>{escape(chr(10).join(commands))}</pre>"]
    parts += ["<details><summary>Configuration</summary>", f"<pre>{escape(config)}</pre></details>"]
    title = escape(settings["name"])
    head = f"{_HEAD}<title>{title}</title><style>{_STYLE}</style>"
    with atomic_file(run / REPORT) as file:
        file.write("\n".join([head, f"<h1>{title}</h1>", *parts, "</html>\n"]).encode())
    return run / REPORT


def _read_curves(path: Path) -> dict[str, Curve]:
    """Return steps and values of each figure of a run, and of its learning rate, where they are finite."""
    curves: dict[str, Curve] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and isfinite(float(value)) and (name in _FIGURES or name.startswith("lr")):
                    steps, values = curves.setdefault(_RATE if name.startswith("lr") else name, ([], []))
                    steps.append(int(row["step"]) + 1)
                    values.append(float(value))
    return curves


def _best(name: str, curve: Curve) -> tuple[int, float]:
    """Return step and value of the best point of a curve."""
    pick = max if name == "val/psnr" else min
    return pick(zip(*curve, strict=True), key=lambda point: point[1])


def _plot(curves: Mapping[str, Curve]) -> bytes:
    """Return the curves as a PNG: likelihoods or dB with the best step, speed, and learning rate."""
    from matplotlib.figure import Figure  # which takes half a second

    panels: dict[str, list[str]] = {}
    for name in (*_FIGURES, _RATE):
        if name in curves:
            panels.setdefault(_FIGURES.get(name, ("", _RATE))[1], []).append(name)
    figure = Figure(figsize=(8, 2.5 * len(panels)), dpi=150)
    rows = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (unit, names) in zip(rows, panels.items(), strict=True):
        for name in names:
            (steps, values), title = curves[name], _FIGURES.get(name, [_RATE])[0]
            if name.startswith("val/"):
                step, best = _best(name, curves[name])
                axes.plot(steps, values, marker="o", label=f"{title}: {best:.3f} at step {step:,}")
                axes.plot([step], [best], marker="*", markersize=14, color="black")
            else:
                axes.plot(steps, _smoothed(values) if name in _FIGURES else values, linewidth=1, label=title)
        if unit == "bits/dim":  # the first steps would hide the others
            values = sorted(value for name in names for value in _smoothed(curves[name][1]))
            least, usual = values[0], values[int(0.95 * (len(values) - 1))]
            axes.set_ylim(least - 0.1 * (usual - least + 0.01), usual + 0.2 * (usual - least + 0.01))
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right")
    axes.set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


def _smoothed(values: list[float]) -> list[float]:
    """Return running means over a fiftieth of the values."""
    width = len(values) // 50 + 1
    return [sum(part := values[max(0, end - width) : end]) / len(part) for end in range(1, len(values) + 1)]


def _training(curves: Mapping[str, Curve]) -> str:
    """Return the last value of each figure, the best one in validation, and what it means."""
    rows = []
    for name, (title, unit, meaning) in _FIGURES.items():
        if name in curves:
            points = [(curves[name][0][-1], curves[name][1][-1])]
            points += [_best(name, curves[name])] if name.startswith("val/") else []
            digits = 0 if unit.endswith("/s") else 3
            rows.append(([title, *(f"{value:,.{digits}f} at step {step:,}" for step, value in points)], meaning))
    return _table(["figure", "last", "best"], rows)


def _evaluation(record: Mapping[str, Any]) -> str:
    """Return the figures of ``glow evaluate`` beside those of a reference, and what they mean."""
    if "restorations" in record:
        kinds = record["restorations"].values()
        likeness = [(each["name"], each["psnr"]["mean"], each["ssim"]["mean"]) for each in kinds]
        rows = [([name, f"{psnr:.2f} dB", f"{ssim:.4f}"], "") for name, psnr, ssim in likeness]
        return _table(["", "PSNR", "SSIM"], rows) + f"<p>{_ALIKE}"
    bits, sets = record["bits_per_dim"], record["comparisons"]
    mean = f"{bits['one_draw']['mean']:.3f} ± {bits['one_draw']['standard_error']:.3f}"
    rows = [(["bits/dim", mean, f"{bits['png']:.3f}"], _CODE)]
    for name, (title, factor, meaning) in _COMPARED.items():
        values = (sets[each][name] for each in ("drawn", "training_images") if each in sets)
        rows.append(([title, *(f"{factor * value:.3f}" for value in values)], meaning))
    return _table(["figure", "model", "reference"], rows) + (f"<p>{_REFERENCE}" if "training_images" in sets else "")


def _table(head: Iterable[str], rows: Iterable[tuple[list[str], str]]) -> str:
    """Return a table with a line below each row that says what it means."""
    lines = ["<tr>" + "".join(f"<th>{title}" for title in head)]
    for cells, meaning in rows:
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells))
        lines += [f"<tr class=meaning><td colspan=3>{meaning}"] if meaning else []
    return "<table>" + "\n".join(lines) + "</table>"


def _step(path: Path) -> str:
    return f"step {int(path.stem.removeprefix('step')):,}"


def _figure(path: Path, caption: str, width: int) -> str:
    """Return a picture with a caption, reduced to a width, in the page itself."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((width, 4 * width))
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )
