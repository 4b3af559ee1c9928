"""Continuous normalising flows: the flow, its solver, the trace of its velocity, and what a caller asks of a solve."""
