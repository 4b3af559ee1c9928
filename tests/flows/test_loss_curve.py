"""A seeded training gives the losses that it gave before anything was made faster."""

import torch
from registry import random_images

from glow_app.conditioning import ClassConditioning
from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel

# Of every third step, before the steps of a level were fused. In float64, since in float32 a last bit that differs, as
# from one number of threads to another, grows to 0.07 bits/dim within 80 steps.
LOSSES = [7.559227535561, 7.445176130094, 6.82647542289, 6.787458001811]
LOSSES += [6.657936578849, 6.61433028236, 6.186523484227, 6.349268223116]


def test_the_losses_are_those_of_the_unfused_steps() -> None:
    classes = ClassConditioning(4)
    torch.manual_seed(0)
    flow = Glow((3, 8, 8), 2, 3, 12, conditioning=classes, init="rotation")
    classes.embedding.reset_parameters()  # drawn last, as when the losses were recorded
    model = ImageModel(flow).double()
    images = random_images(64, (3, 8, 8)) >> (torch.arange(64, dtype=torch.uint8) % 6).view(-1, 1, 1, 1)
    labels = torch.arange(64) % 4
    generator = torch.Generator().manual_seed(1)
    model.initialize(images[:16], labels[:16], generator)
    optimizer = torch.optim.Adamax(model.parameters(), lr=5e-3)
    losses = []
    for step in range(22):
        part = slice(16 * (step % 4), 16 * (step % 4 + 1))
        optimizer.zero_grad()
        loss = model(images[part], labels[part], generator).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    torch.testing.assert_close(losses[::3], LOSSES, rtol=0, atol=1e-9)
