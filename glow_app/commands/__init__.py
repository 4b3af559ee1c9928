"""The commands that need no training framework, one per file: ``add_arguments(parser)`` and ``run(arguments)``."""
