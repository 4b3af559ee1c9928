"""A seeded training gives the losses that it gave before anything was made faster."""

import torch
from registry import random_images

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel

# Of commit 8ba756f, before the steps of a level were fused. In float64, since in float32 a last bit that differs, as
# from one number of threads to another, grows to 0.07 bits/dim within 80 steps.
LOSSES = [
    7.559227535561,
    7.661786116572,
    7.194684186362,
    7.445176130094,
    7.149375869786,
    7.109553380032,
    6.82647542289,
    7.016108604689,
    6.840766053821,
    6.787458001811,
    6.511317832635,
    6.74429196279,
    6.657936578849,
    6.567002291098,
    6.331875185194,
    6.61433028236,
    6.553271946825,
    6.457805540186,
    6.186523484227,
    6.508025417391,
    6.462465452579,
    6.349268223116,
    6.088498056506,
    6.418941735319,
]


def test_the_losses_are_those_of_the_unfused_steps() -> None:
    torch.manual_seed(0)
    model = ImageModel(Glow((3, 8, 8), 2, 3, 12, num_classes=4, init="rotation")).double()
    images = random_images(64, (3, 8, 8)) >> (torch.arange(64, dtype=torch.uint8) % 6).view(-1, 1, 1, 1)
    labels = torch.arange(64) % 4
    generator = torch.Generator().manual_seed(1)
    model.initialize(images[:16], labels[:16], generator)
    optimizer = torch.optim.Adamax(model.parameters(), lr=5e-3)
    losses = []
    for step in range(24):
        part = slice(16 * (step % 4), 16 * (step % 4 + 1))
        optimizer.zero_grad()
        loss = model(images[part], labels[part], generator).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    torch.testing.assert_close(losses, LOSSES, rtol=0, atol=1e-9)
