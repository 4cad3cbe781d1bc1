"""A convolutional net for MNIST, and its trainer: `python -m reference.mnist --help`.

Read it in this order: model.py, data.py, settings.py, train.py, evaluate.py. Then checkpoint.py, distributed.py and
plots.py as you need them; __main__.py is the command line. The README has what it achieves.
"""
