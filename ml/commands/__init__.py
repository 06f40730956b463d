"""The commands of `roadsense`, one a file: options, checks, run."""
