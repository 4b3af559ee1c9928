"""Training: the Lightning module, the data module, the callbacks and the command line around them."""
