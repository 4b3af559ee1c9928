"""Test whether edits of faces do what their names say, with classifiers of the attributes before and after.

    python benchmarks/face_edits.py                                             # the bundled model
    python benchmarks/face_edits.py --checkpoint RUN --faces 200 --name run     # a model of your own

The edited faces are unknown to both the model and the classifiers (``face_classifier.py``). A yes/no attribute is added
to faces without it, and removed from faces with it. A continuous attribute is moved by half its range, towards the
other half. A continuous attribute counts as changed if it moves by at least a quarter of its range. Some changes cannot
be avoided, since a hat hides hair; so edits by the renderer are measured too.

The model infers the attributes of the faces; ``face_reading.py`` measures how well. ``face_samples.py`` measures the
model's likelihood, and whether its samples show the requested attributes.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any

import torch
from common import IS_SHORT, write_result, write_table
from face_classifier import (
    NAMES,
    NUM_BINARY,
    RENDERED_SIDE,
    SIDE,
    FaceJudges,
    accuracies,
    faces,
    movement,
    reduced,
    seen,
    trained,
)
from face_samples import measure_samples, sample_rows
from torch import Tensor

from glow_app import load_model
from glow_app.data.faces.drawing import render_face
from glow_app.data.faces.face import draw_face
from glow_app.data.faces.rendered import FACE_KINDS
from glow_app.models.image_model import ImageModel
from glow_app.pipeline import edit_attributes, infer

NAME, SEED = "face_edits", 2
NUM_FACES, NUM_EDITED = (64, 16) if IS_SHORT else (600, 100)
REAL_CHANGE = 0.25  # smallest change of a continuous attribute that counts, as a share of its range
REAL_STRENGTH = 0.5
STRENGTHS = (1.0, 1.25)  # the first is that of the table
# Edits some of the images: (rows, place of the attribute in NAMES, sign, strength) to images.
Editor = Callable[[Tensor, int, int, float], Tensor]
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """The effect of an edit on the faces that needed it."""

    num_faces: int
    right: float  # share in which the attribute changed as requested
    others: float  # share in which any other attribute changed
    worst: tuple[str, float]  # the other attribute that changed most often, and its share


def outcome(before: Tensor, after: Tensor, place: int, sign: int) -> Outcome:
    """Return the effect of an edit, from the predicted attributes of the faces that needed it, (N, 15).

    Args:
        before: Attributes before the edit.
        after: Attributes after it.
        place: Index of the edited attribute in ``NAMES``.
        sign: 1 if the attribute was added, -1 if it was removed.
    """
    is_other = (after[:, :NUM_BINARY] > 0.5) != (before[:, :NUM_BINARY] > 0.5)
    changed = torch.cat([is_other, movement(before, after)[:, NUM_BINARY:].abs() > REAL_CHANGE], dim=1)
    is_right = changed[:, place] & ((after - before)[:, place] * sign > 0)
    changed[:, place] = False
    shares = changed.double().mean(0)
    worst = int(shares.argmax())
    return Outcome(
        len(before),
        float(is_right.double().mean()),
        float(changed.any(1).double().mean()),
        (NAMES[worst], float(shares[worst])),
    )


def edits(editor: Editor, strength: float, before: Tensor, judges: FaceJudges) -> Results:
    """Return the outcomes of adding and of removing each attribute, by its name and sign."""
    results: Results = {}
    for place, name in enumerate(NAMES):
        for sign in () if FACE_KINDS[name] == "circular" else (1, -1):
            rows = ((before[:, place] < 0.5) == (sign > 0)).nonzero()[:, 0]
            if len(rows) < 2:
                continue
            after = seen(judges, torch.cat([editor(part, place, sign, strength) for part in rows.split(50)]))
            result = outcome(before[rows], after, place, sign)
            results[f"{name} {'+' if sign > 0 else '-'}"] = asdict(result)
            print(name, sign, result, flush=True)
    return results


def print_means(what: str, results: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Print and return the means of both shares."""
    results = list(results)
    means = {share: mean(one[share] for one in results) for share in ("right", "others")}
    print(what, means, flush=True)
    return means


def edit_rows(results: Results) -> list[list[str]]:
    """Return the rows of the table."""
    rows = []
    for name, one in results.items():
        worst = f"`{one['worst'][0]}` {100 * one['worst'][1]:.0f}"
        shares = [f"{100 * one[share]:.0f}" for share in ("right", "others")]
        attribute, sign = name.split()
        rows.append([f"`{attribute}`", sign, str(one["num_faces"]), *shares, worst])
    return rows


def through_attributes(model: ImageModel, images: Tensor, given: Tensor) -> Editor:
    """Return the editor by attributes, of which ``given`` are taken to be those of the images, (N, 15)."""

    def editor(rows: Tensor, place: int, sign: int, strength: float) -> Tensor:
        changes = torch.full((len(rows), len(NAMES)), torch.nan)
        moved = given[rows, place] + REAL_STRENGTH * sign
        changes[:, place] = (torch.full_like(moved, sign > 0) if place < NUM_BINARY else moved).clamp(0, 1)
        return edit_attributes(model, images[rows], changes, given[rows], strength, size=(SIDE, SIDE))

    return editor


def by_renderer(rows: Tensor, place: int, sign: int, _: float) -> Tensor:
    """Return the faces drawn anew with the attribute changed: what a perfect edit would show."""
    drawn = []
    for index in rows.tolist():
        face = draw_face(SEED, index)
        moved = min(max(getattr(face, NAMES[place]) + REAL_STRENGTH * sign, 0), 1 - 1e-6)
        change: dict[str, Any] = {NAMES[place]: sign > 0 if place < NUM_BINARY else moved}
        drawn.append(torch.from_numpy(render_face(replace(face, **change), RENDERED_SIDE).copy()))
    return reduced(torch.stack(drawn))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="faces", help="a model with the attributes of rendered faces")
    parser.add_argument("--faces", type=int, default=NUM_FACES, help="of which the first 100 are edited")
    parser.add_argument("--name", default=NAME, help="of the results; others than the default leave docs/ alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    judges = trained()
    model = load_model(arguments.checkpoint)
    assert isinstance(model, ImageModel)
    images, attributes = faces(SEED, arguments.faces, model.flow.image_shape[2])
    before = seen(judges, images)
    inferred = torch.cat([one for part in images.split(20) if (one := infer(model, part)) is not None])
    result = {"model": model.hash, "faces": len(images), "classifiers": accuracies(before, attributes)}
    result |= measure_samples(model, judges, images, attributes)
    editor, before = through_attributes(model, images, inferred), before[:NUM_EDITED]
    by_strength = {strength: edits(editor, strength, before, judges) for strength in STRENGTHS}
    means: dict[float | str, dict[str, float]] = {
        strength: print_means(f"strength {strength:g}", one.values()) for strength, one in by_strength.items()
    }
    means["renderer"] = print_means("the renderer itself", edits(by_renderer, 1, before, judges).values())
    write_result(arguments.name, result | {"edits": {"means by strength": means, "by attribute": by_strength}})
    is_documented = arguments.name == NAME
    changes = ["as requested, of 100", "another changed, of 100", "most often changed"]
    rows = edit_rows(by_strength[STRENGTHS[0]])
    header = ["attribute", "change", "faces", *changes]
    write_table("face_edits", header, rows, "edit.md" if is_documented else None)
    write_table("face_samples", *sample_rows(result), "conditioning.md" if is_documented else None)


if __name__ == "__main__":
    main()
