"""The parts of a run: folder, configuration, loggers, recovery, stopping."""
