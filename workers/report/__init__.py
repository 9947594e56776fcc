"""The report of a finished job: one self-contained HTML page, and its figures as files.

folder.py        reads the job folder
drawing.py       decides what the figure shows
interactive.py   draws it with plotly;  printed.py draws it with matplotlib;  palette.py their colours
tables.py        the rows of the tables;  words.py the numbers and sentences
page.py          puts all into page.html and page.css
"""

from workers.report.page import write_report

__all__ = ["write_report"]
