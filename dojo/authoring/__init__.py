"""For those who write katas: `python -m dojo.authoring`."""
