"""`pytest --kata-watch`: stays open, and shows the verdict on a kata each time that it is saved.

plugin.py  the options, and the start
loop.py    the parent: what happens on a save, on a key, at an end; it never imports torch
files.py   which files are watched, and which katas a save is about
screen.py  the terminal: what is said on it, the keys that come from it
runs.py    one run as the parent sees it: a process that is begun ahead, waits, runs one session, and ends or is ended
child.py   one run from inside: the limits, and the facts that it tells the parent
warm.py    the work that only the first run in a process has, done before the learner saves
"""
