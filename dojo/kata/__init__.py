"""A kata on disk: its files, its stubs, whose functions are under test, its known mistakes."""
