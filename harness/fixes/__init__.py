"""The fixes. One module per factor: its declaration, its off level, its on level and its manipulation check.

endpoint.py, tools.py, exploration.py, reward.py, logprobs.py, split.py: the six of the investigation note
toolcalls.py, toolorder.py: two that a loop with these six still needs with ART 0.5.18
placebo.py, signal.py: no fixes; levels that cannot matter, and negative controls that must not learn. They are there
where a sweep asks for them
registry.py: which there are

Nothing else knows them: designs, plans, reports, colours and the help are made from what a fix declares. A fix knows
seams, and neither the loop that calls it nor the sweep that compares it. Which level a run gets is chosen by its config
group through `_target_` (conf/fix/<factor>/{off,on}.yaml). A further fix is one module here, or in a package of your
own, and two YAML files: docs/bring_your_own.md.
"""
