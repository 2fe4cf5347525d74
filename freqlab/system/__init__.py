"""The machine: home folders, private files, memory."""
