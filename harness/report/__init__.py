"""From records and statistics to what a person reads: table, page, figures, verdict.

numbers    arm_rows.py (one row per arm), curves.py (curves as plain data), check_marks.py (the last word of each
           check), cost_text.py
words      formats.py, effect_text.py (numbers, states, effects), step_text.py (steps and blocks), look_text.py (looks),
           source_text.py (which code runs come from), control_text.py (placebos and negative controls), verdict.py
figures    figures.py, effect_figures.py, step_figures.py, control_figure.py, palette.py; matplotlib loads when one is
           drawn
at a       chips.py (what matters, what does not), curve_figure.py (the arms' curves), task_grid.py (task × arm),
glance     rollout_views.py (rollouts as plain data), rollout_section.py (a grid that opens them)
pages      sections.py (parts as plain data), effect_sections.py, step_sections.py, block_section.py, and
           further_sections.py with reported_section.py, task_section.py, steps_section.py, pass_section.py,
           also_section.py; rendered by page.py (report.html, effects.json) with page_parts.py, document.py, markup.py
           and templating.py (templates/: HTML, style and scripts), and by markdown.py (report.md); arm_table.py prints
           to the terminal
frames.py  the same as pandas frames, for a notebook
command.py `harness report`, of several sweeps compare.py; seeds_command.py `harness seeds`

A report computes no statistic and asks no fix: names, levels and captions come from the sweep's own records. It knows
nothing of engines, environments or the loop, and loads no torch, art or vllm.
"""
