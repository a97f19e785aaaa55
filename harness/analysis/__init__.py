"""From the records of a sweep to tables, figures and a page. No torch, ART or vLLM behind it.

load.py      sweep folder -> SweepRecords (tolerant of runs that are still running, failed or torn)
rows.py      SweepRecords -> one ArmRow of numbers per arm, and what was reused
table.py     the terminal table (rich)
curves.py    curves as plain data; figures.py draws them (matplotlib, imported only when needed)
checks.py    the last word of each manipulation check

outcomes.py  SweepRecords -> arrays of reference rewards; effects.py: every effect with its interval
             (contrasts, crossed, bootstrap, gates, shapley, ranking, pairing, profiles, scaling, gaps)
claims.py    the registered claims held against the records (symptoms.py: what they read)
power.py     the smallest effect that a design finds; forecast.py: what a plan costs

answer.py    effects and claims of one sweep
conclusion.py  the verdict in three sentences; phrases.py: how effects are written
sections.py  a report's parts as plain data; effect_sections.py, cost.py make them
page.py      report.html, one self-contained file, and effects.json; markdown.py: its plain twin, report.md
             (page_parts, markup, style; effect_figures: forest plot and Shapley bars)

All but the last step (writing files) are pure functions of the records, so a report can be made
again at any time: `python -m harness.report results/<sweep>`.
"""
