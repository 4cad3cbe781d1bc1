"""Processes of our own that run a learner's code: what they import ahead, and how much they may take."""
