"""Place of the package's visualizers; so far MMEngine's own serve (tools/visualization/ draws)."""
