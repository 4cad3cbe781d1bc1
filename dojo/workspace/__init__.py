"""`pytest --kata-start`, `--kata-reset`: a folder of one's own."""
