"""The CNN's benchmark: CPU against CUDA, believable. See README.md."""
