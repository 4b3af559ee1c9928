"""The commands that need no training framework, one a file: ``add_arguments(parser)`` and ``run(arguments)``."""
