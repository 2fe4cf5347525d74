"""The machine: folders of its user, private files, room in memory."""
