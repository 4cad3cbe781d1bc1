"""One file for each `--kata-...` option that shows something."""
