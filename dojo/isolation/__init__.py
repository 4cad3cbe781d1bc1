"""Around each test: how long it may run, what it may leave changed."""
