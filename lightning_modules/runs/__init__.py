"""What belongs to a run: its folder, configuration, loggers, launch, recovery."""
