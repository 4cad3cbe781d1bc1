"""One run: its order, its stop, its exit code, what happened, what is remembered."""
