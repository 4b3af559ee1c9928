"""Models: a flow with what makes it a probability of data."""
