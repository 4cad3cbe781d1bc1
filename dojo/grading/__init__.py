"""`pytest --kata-grade=submissions/`: a class's submissions graded behind a wall, one record each, and the reports.

plugin.py       the options, and the command
grade.py        a class from its folder to its reports
submissions.py  which files of a student are read
plan.py         what is asked of each kata: the tests that the reference passes
supervisor.py   one submission graded: owns the clock, the list of tests and the result
walls.py        what a worker runs behind: bubblewrap, Landlock, nothing
landlock.py     starts a command behind Landlock
probes.py       what a wall must refuse before it is trusted
worker.py       behind the wall: imports torch once, and forks a child for each kata
child.py        one kata, in a process of its own
tampering.py    is all that judges still the same object?
suspicion.py    what a submission's text says that a human should look at
record.py       students/NAME/results.json
reports.py      everything else that is written, made from the records
autograder.py   the archive for Gradescope
"""
