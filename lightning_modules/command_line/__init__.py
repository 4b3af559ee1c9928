"""The command line of training: arguments, kinds of runs, stored configurations."""
