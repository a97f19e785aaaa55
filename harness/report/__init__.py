"""From records and statistics to what a person reads: table, page, figures, verdict. No torch, ART or vLLM behind it.

arm_rows.py   SweepRecords -> one ArmRow of numbers per arm; arm_table.py prints them
curves.py     curves as plain data; figures.py and effect_figures.py draw them (matplotlib, imported only when needed)
check_marks.py  the last word of each manipulation check
verdict.py    the verdict in three sentences
sections.py   a report's parts as plain data; effect_sections.py and cost.py make them
page.py       report.html, one self-contained file, and effects.json; markdown.py: its plain twin, report.md
              (page_parts, markup, style)
formats.py, effect_text.py  how numbers, states and effects are written
command.py    `harness report`
"""
