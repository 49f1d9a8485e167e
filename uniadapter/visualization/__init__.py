"""Pictures and reports of what is handed in; the commands are in tools/visualization/."""
