"""The controlled ablation harness for ART's tau-bench RL loop. Start reading at `loop.py`."""
