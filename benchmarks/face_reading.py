"""Measure how well a model reads the attributes of rendered faces, and of its own samples.

    python benchmarks/face_reading.py                                # the bundled model
    python benchmarks/face_reading.py --checkpoint RUN --name run    # a model of your own

No training has seen the rendered faces (seed 2). Samples are drawn as by `glow sample`, with nothing asked for. One may
not show what it was drawn with.
"""

import argparse
import time

import torch
from common import IS_SHORT, write_result, write_table
from face_classifier import NAMES, NUM_BINARY, SIDE, accuracies, faces
from torch import Tensor

from glow_app import load_model
from glow_app.conditioning import AttributeConditioning
from glow_app.data.faces.rendered import rendered_faces
from glow_app.pipeline import infer
from glow_app.pipeline.loaded_model import LoadedModel

NAME = "face_reading"
COUNT = 50 if IS_SHORT else 600


def drawn(model: LoadedModel) -> tuple[Tensor, Tensor]:
    """Return the means of samples, (N, 3, 64, 64), and what they were drawn with."""
    given = model.vocabulary.default(range(COUNT))
    assert given is not None
    parts = [model.sample(len(rows), seeds=rows.tolist(), size=(SIDE, SIDE)) for rows in torch.arange(COUNT).split(50)]
    return torch.cat([part.as_subclass(Tensor) for part in parts]), given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="faces", help="a model with the attributes of rendered faces")
    parser.add_argument("--name", default=NAME, help="of the results; others than the default leave docs/ alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.checkpoint).freeze()
    assert isinstance(model.conditioning, AttributeConditioning)
    shown = {"rendered": faces(2, COUNT), "samples": drawn(model)}
    read = {name: accuracies(model.conditioning.read(images), truth) for name, (images, truth) in shown.items()}
    agreement = {name: sum(list(each.values())[:NUM_BINARY]) / NUM_BINARY for name, each in read.items()}
    picture = torch.from_numpy(rendered_faces(2, COUNT, 256, None)[:1].copy())
    infer(model, picture)
    start = time.process_time()
    for _ in range(20):
        infer(model, picture)
    result = {"model": model.hash, "count": COUNT, "read": read, "yes or no": agreement}
    write_result(arguments.name, result | {"seconds_a_picture": (time.process_time() - start) / 20})
    rows = [
        [f"`{name}`", *(f"{100 * one[name]:.1f} %" if n < NUM_BINARY else f"{one[name]:.3f}" for one in read.values())]
        for n, name in enumerate(NAMES)
    ]
    rows.insert(NUM_BINARY, ["mean of these", *(f"{100 * share:.1f} %" for share in agreement.values())])
    header = ["attribute", "rendered faces", "samples"]
    write_table("face_reading", header, rows, "edit.md" if arguments.name == NAME else None)


if __name__ == "__main__":
    main()
