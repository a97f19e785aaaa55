"""A saved W&B workspace and report for a sweep whose runs were uploaded.

spec.py     what the dashboard shows, as plain data, from the records alone
build.py    the same as objects of wandb-workspaces
command.py  `harness dashboard results/<sweep>`: says what is missing, or saves both

wandb-workspaces is optional. The version is pinned: 0.4.5 is the last that accepts wandb 0.25.0, which ART's
lock holds; from 0.4.8 on it asks for wandb 0.28.2.
"""
