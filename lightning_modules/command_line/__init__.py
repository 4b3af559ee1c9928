"""The command line of training: its words before and after the parser, kinds of runs, checkpoints, reports."""
