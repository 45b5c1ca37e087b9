"""The command lines, settings and first data of each of the cluster's servers."""
