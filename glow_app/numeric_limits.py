"""Bounds and defaults of numbers, shared by the command, the API and Python."""

LARGEST_IMAGE = 2**22  # pixels: a model of a few weights would need gigabytes for a picture of more
LARGEST_SEED = 2**31 - 1
LARGEST_TEMPERATURE = 100.0
LARGEST_GUIDANCE = 10.0  # images disintegrate beyond about 2
LARGEST_STRENGTH = 100.0  # far smaller values already make pictures unrecognisable
