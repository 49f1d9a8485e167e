"""The embedded toy world: drawing, language, stills and videos, deterministic by seed."""
