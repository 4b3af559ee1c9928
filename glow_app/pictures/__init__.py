"""Pictures of images and figures: grids, captions, animations, histograms."""
