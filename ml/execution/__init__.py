"""Where jobs run: processes on this machine, or Ray tasks on the nodes of a cluster."""
