"""Models: densities of images and of points in the plane, built on flows."""
