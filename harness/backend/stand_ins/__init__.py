"""Packages that a library imports and never uses. `stock.prepare_process` puts this folder on the path where needed."""
