"""`harness watch`: the report's page of a sweep while it runs, on 127.0.0.1 alone. docs/watch.md is for its users.

command.py    which sweep, which port
server.py     HTTP: who may ask, and what is answered
live_page.py  the page, made anew when the records have changed
standing.py   where the sweep stands by its own word, and how it is asked to stop

It reads the records and writes one file, by which a sweep is asked to stop (sweep/board.py). It computes no verdict
that nobody has asked for, since that would be a look (records/looks.py). It knows no engine, and signals no process.
"""
