"""The commands, one noun a file. They parse, call a use case, and show the result.

Heavy libraries are imported inside the functions: `lethe --help` answers at once, and the
commands that only talk to a service run without PyTorch.
"""
