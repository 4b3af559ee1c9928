"""Callbacks of a training run: averaging, guards, checkpoints, progress, sample grids, report, export."""

from lightning_modules.callbacks.ema import EMA
from lightning_modules.callbacks.export_best import ExportBest
from lightning_modules.callbacks.grids import SampleGrids
from lightning_modules.callbacks.guard import NonFiniteGuard
from lightning_modules.callbacks.outcome import StopEarly
from lightning_modules.callbacks.progress_report import Progress, Report, Throughput
from lightning_modules.callbacks.save import BestCheckpoint, SaveProgress
