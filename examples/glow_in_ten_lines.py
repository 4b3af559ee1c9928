"""The digits of ``minimal_glow.py`` in ten lines, with `Glow` and `ImageModel`.

    pip install -e '.[demo]'
    python examples/glow_in_ten_lines.py

It takes half a minute on a CPU, and writes samples to ``digits.png``.
"""

import torch

from glow_app import Glow, ImageModel
from glow_app.data.sources import load_split

torch.manual_seed(0)
torch.set_num_threads(1)  # images this small gain nothing from more
train, test = (torch.from_numpy(load_split("digits", split, (1, 8, 8)).images) for split in ("train", "test"))

model = ImageModel(Glow((1, 8, 8), num_levels=2, num_steps=8, hidden_channels=32), num_bits=4)
model.initialize(train)  # sets the actnorms from the data
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.3)
for _ in range(600):
    loss = model(train[torch.randint(len(train), (64,))]).mean()  # bits/dim
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# Measure on digits that the model has not seen, and draw new ones.
print(f"{model.eval().bits_per_dim(test).mean():.3f} bits/dim on {len(test)} held-out digits")
model.sample(80, temperature=0.7, seeds=0).save("digits.png")
