"""A small stand-in for sierra-research/tau-bench: its interface, six orders, tasks of our own."""
