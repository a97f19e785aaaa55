"""The six fixes. One module per factor holds its off level, its on level and its manipulation check.

Which level a run gets is chosen by its config group through `_target_` (conf/fix/<factor>/{off,on}.yaml).
A seventh fix is one module here, two YAML files and one test; plus one Protocol in `seams.py` and one call
site if its seam is new.
"""
