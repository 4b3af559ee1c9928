"""`glow estimate`: time and memory of a training, measured in a few short steps before it starts."""
