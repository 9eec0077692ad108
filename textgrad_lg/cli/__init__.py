"""The command line: `textgrad-lg`."""
