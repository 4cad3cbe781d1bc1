"""Registers the engine. Everything it does is in dojo/."""

pytest_plugins = ["dojo.plugin", "pytester"]
