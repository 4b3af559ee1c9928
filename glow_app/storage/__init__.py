"""Models in checkpoints, exported folders and on the hub, read without running code from them."""
