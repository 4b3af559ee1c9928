"""Models in files: checkpoints, exported folders, the hub, and how they are read without running code."""
