"""A model that reads pictures."""

from pathlib import Path

import torch
from PIL import Image
from registry import named, tiny_model

from glow_app.pictures.images import save_picture, to_pil
from glow_app.pictures.inputs import Pictures
from glow_app.pipeline import infer
from glow_app.pipeline.loaded_model import Encoded


def test_a_picture_is_encoded_with_its_class_and_decoded_with_it(tmp_path: Path) -> None:
    model = named(tiny_model(image_shape=(3, 8, 8), num_classes=3), "cat", "dog", "fox")
    pixels = torch.randint(0, 256, (8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    places = [tmp_path / folder / "a.png" for folder in ("dog", "fox", "wolf")]
    for place in places:
        place.parent.mkdir()
        Image.fromarray(pixels.numpy()).save(place)
    images = pixels.permute(2, 0, 1)[None]
    likeliest = infer(model, images)
    assert likeliest is not None
    latents = model.encode(places)
    assert str(latents).startswith("latents of shapes 3x6x4x4, "), "as short as images are"
    for level, other in zip(latents, model.encode(images, given="dog"), strict=True):
        torch.testing.assert_close(level[:1], other)
    assert torch.equal(model.decode(latents), images.expand(3, -1, -1, -1))
    save_picture(to_pil(images[0]), tmp_path / "foreign.png", {"seed": 0, "given": "fox", "model": "another"})
    cases: list[tuple[Pictures, list[int]]] = [
        (places, [1, 2, int(likeliest)]),
        (str(places[1]), [2]),
        (Image.open(places[0]), [int(likeliest)]),
        (model.sample(1, given="fox"), [2]),
        (tmp_path / "foreign.png", [int(likeliest)]),
    ]
    for pictures, classes in cases:
        latents = model.encode(pictures)
        assert isinstance(latents, Encoded)
        assert latents.given is not None
        assert latents.given.tolist() == classes
