"""A page to draw a digit on: served on this machine, or written as one file.

command.py   what __main__.py calls: whose net is asked, and how the page gets to the browser
reader.py    what is asked about a drawing: like_mnist, and a net
server.py    `--draw`: the page, and the answers, on 127.0.0.1
export.py    `--export`: the page with the weights in it, which needs no Python
page.html    the canvas, the bars, the tally; its `read(ink, width, height)` comes from one of the two below
ask.js       asks the server
net.js       computes the answer in the browser: like_mnist and the net, by hand
"""
