"""From the records of a sweep to tables, figures and a page. No torch, ART or vLLM behind it.

load.py      sweep folder -> SweepRecords (tolerant of runs that are still running, failed or torn)
rows.py      SweepRecords -> one ArmRow of numbers per arm, and what was reused
table.py     the terminal table (rich)
curves.py    curves as plain data; figures.py draws them (matplotlib, imported only when needed)
checks.py    the last word of each manipulation check
page.py      report.html, one self-contained file; markdown.py: its plain twin, report.md

All but the last step (writing files) are pure functions of the records, so a report can be made
again at any time: `python -m harness.report results/<sweep>`.
"""
