"""Models: densities of images and of vectors, built on flows."""
