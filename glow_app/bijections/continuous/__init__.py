"""Continuous normalising flows: the flow, its solver, the trace of its velocity, and records of solves."""
