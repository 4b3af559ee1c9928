"""Pictures of images and results: grids, captions, animations."""
