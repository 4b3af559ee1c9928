"""Train Glow on handwritten digits in a minute, from the parts of this package and a plain PyTorch loop.

    pip install -e '.[demo]'
    python examples/minimal_glow.py --steps 600 --output digits.png

Read it from top to bottom: the data, the model, the loss, the training, and three things to do with the result.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from glow_app.bijections import ActNorm, AffineCoupling, Bijection, Chain, DiagonalAffine, InvertibleConv1x1, Squeeze
from glow_app.data.sources import load_split
from glow_app.flows import MultiscaleFlow
from glow_app.likelihood import bin_centres, bits_per_dim, dequantise, quantise, to_uint8
from glow_app.nn import ConvConditioner
from glow_app.pictures.images import grid, save_picture
from glow_app.priors import GaussianPrior

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=600, help="training steps (default: %(default)s)")
parser.add_argument("--output", type=Path, default=Path("digits.png"), help="picture of samples (default: %(default)s)")
parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and samples (default: %(default)s)")
arguments = parser.parse_args()

torch.manual_seed(arguments.seed)
torch.set_num_threads(1)  # images this small gain nothing from more

# The data: scikit-learn's 1,797 digits, 8x8 grey, a tenth of them held out. Pixels have 16 grey levels: 4 bits.
NUM_BITS, NUM_CLASSES, NUM_DIMS = 4, 10, 8 * 8
train, test = (load_split("digits", split, (1, 8, 8)) for split in ("train", "test"))
train_levels, test_levels = (quantise(torch.from_numpy(split.images), NUM_BITS) for split in (train, test))


# The model: Glow is one step, repeated. Every part is a bijection that returns its output and log|det J|.
HIDDEN_CHANNELS, NUM_STEPS, CONTEXT = 32, 8, 16


def step(num_channels: int) -> Bijection:
    """Return a step of the flow."""
    half = num_channels // 2
    return Chain(
        # Scales and shifts each channel; the first batch sets it to mean 0 and variance 1, so that deep flows train.
        ActNorm(num_channels),
        # Mixes the channels, so that the next coupling halves them differently. Its log-determinant costs O(C).
        InvertibleConv1x1(num_channels),
        # Scales and shifts one half of the channels by a network of the other half, which itself passes unchanged:
        # the Jacobian is triangular, and the network is never inverted, so it may be any network.
        AffineCoupling(num_channels, ConvConditioner(half, 2 * half, HIDDEN_CHANNELS, CONTEXT)),
    )


# The flow has two levels. Each begins with a squeeze of 2x2 pixels to 4 channels: (1, 8, 8) becomes (4, 4, 4). After
# the first level, half the channels leave as its latent, under a Gaussian given the other half. That other half,
# (2, 4, 4), is squeezed to (8, 2, 2), and the output of the second level is the second latent, under a Gaussian given
# the class. Both latents are kept, so the flow inverts exactly.
flow = MultiscaleFlow(
    (1, 8, 8),
    levels=[[Squeeze(), *(step(channels) for _ in range(NUM_STEPS))] for channels in (4, 8)],
    split_priors=[DiagonalAffine(2, 2 + CONTEXT)],
    prior=GaussianPrior((8, 2, 2), CONTEXT),
)
embedding = nn.Embedding(NUM_CLASSES, CONTEXT)  # the class of a digit, as a vector that every network and prior sees


# The loss: bits per dimension. Grey levels q are discrete and densities are not, so q becomes y = (q + u) / 16 - 1/2
# with uniform noise u. By Jensen's inequality, -log2 P(q) <= E[-log2 p(y)] + D log2 16, hence with D = 64 pixels
#
#     bits/dim = 4 - log p(y) / (D log 2),    log p(y) = log N(z; 0, I) + log|det dz/dy|,    z = flow(y)
#
# Lower is better. Storing the pixels uncompressed takes 4.
def loss(levels: Tensor, labels: Tensor) -> Tensor:
    """Return the mean bits/dim of images given their classes."""
    log_prob = flow.log_prob(dequantise(levels, NUM_BITS), embedding(labels))
    return bits_per_dim(log_prob, NUM_DIMS, NUM_BITS).mean()


# The training. Weight decay limits overfitting to only 1,437 digits. Warm-up and clipping
# keep the first steps stable.
flow.initialize(dequantise(train_levels, NUM_BITS), embedding(train.labels))
parameters = [*flow.parameters(), *embedding.parameters()]
optimizer = torch.optim.AdamW(parameters, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=arguments.steps, pct_start=0.1)
start = time.perf_counter()
for number in range(1, arguments.steps + 1):
    batch = torch.randint(len(train), (64,))
    value = loss(train_levels[batch], train.labels[batch])
    optimizer.zero_grad()
    value.backward()
    nn.utils.clip_grad_norm_(parameters, max_norm=10)
    optimizer.step()
    schedule.step()
    if number == 1 or number % 100 == 0:
        print(f"step {number:4}  {value.item():.3f} bits/dim  {time.perf_counter() - start:.0f} s", flush=True)

with torch.no_grad():
    # Measure: on digits that the flow has not seen.
    print(f"held-out   {loss(test_levels, test.labels):.3f} bits/dim")

    # Invert: encode, then decode. Rounding errors are far below the width of a grey level, 1/16, so pixels come back.
    y, context = bin_centres(test_levels, NUM_BITS), embedding(test.labels)
    decoded = flow.decode(flow.encode(y, context), context)
    assert torch.equal(quantise(to_uint8(decoded, NUM_BITS), NUM_BITS), test_levels)
    error = (decoded - y).abs().max()
    print(f"decode(encode(x)) == x on {len(test)} held-out digits; largest rounding error {error:.0e}")

    # Sample: decode noise. The temperature 0.7 scales it down, which gives clearer but less varied digits.
    labels = torch.arange(NUM_CLASSES).repeat(8)  # a column for each class
    noise = [0.7 * torch.randn(len(labels), *shape) for shape in flow.latent_shapes]
    samples = to_uint8(flow.decode(noise, embedding(labels)), NUM_BITS)
    save_picture(grid(samples, columns=NUM_CLASSES), arguments.output)
    print(f"samples: {arguments.output}")
