"""Image sources, as uint8 images of one shape, and toy densities in the plane."""
