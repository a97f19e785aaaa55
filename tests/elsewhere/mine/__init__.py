"""A package of somebody else's, outside the harness: it brings a factor, and its config groups."""
