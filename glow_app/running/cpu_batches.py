"""How many images a CPU decodes at a time."""

# Most images that a CPU decodes at a time, and most values of a hidden layer. Smaller batches cost more per image; in
# larger ones the activations do not stay in the caches, and their memory is returned to the system.
CPU_IMAGES, CPU_HIDDEN = 64, 2**21


def images_at_a_time(hidden_channels: int, image_shape: tuple[int, int, int]) -> int:
    """Return how many images a CPU decodes at a time, given the width of the conditioners."""
    _, height, width = image_shape
    return max(1, min(CPU_IMAGES, CPU_HIDDEN // (hidden_channels * (height // 2) * (width // 2))))
