"""Training of the benchmarks' classifiers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def train_classifier(
    network: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    num_images: int,
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
) -> None:
    """Train with AdamW and a one-cycle learning rate; ``loss_of`` returns the loss of the images with some indices.

    Each epoch drops an incomplete last batch, of random images.
    """
    num_batches = num_images // batch_size
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=num_epochs * num_batches)
    network.train()
    for epoch in range(num_epochs):
        total = 0.0
        for rows in torch.randperm(num_images)[: num_batches * batch_size].split(batch_size):
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / num_batches
        print(f"epoch {epoch + 1} of {num_epochs}: loss {total:.4f}", flush=True)
