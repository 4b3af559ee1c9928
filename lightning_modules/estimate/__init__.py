"""`glow estimate`: what a training will need, measured on a few short steps before it starts."""
