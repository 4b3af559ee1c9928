"""The trainer of a run, which counts epochs correctly after every resume."""

import pytorch_lightning as pl


class RunTrainer(pl.Trainer):
    """A trainer that stops at ``fit_loop.max_steps``, but has no :attr:`max_steps`.

    If that attribute is not -1, Lightning counts the last epoch twice when a run resumes from its end. Otherwise it is
    used only for the number of steps of the whole run, which is corrected here.
    """

    @property
    def max_steps(self) -> int:
        """Always -1."""
        return -1

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Number of optimiser steps of the whole run; infinite if neither epochs nor steps limit it."""
        steps, limit = super().estimated_stepping_batches, self.fit_loop.max_steps
        return steps if limit == -1 else min(steps, limit)
