"""The parts of a run: folder, configuration, loggers, launchers, recovery, stopping."""
