"""The commands that need no training framework; each module has ``add_arguments(parser)`` and ``run(arguments)``."""
