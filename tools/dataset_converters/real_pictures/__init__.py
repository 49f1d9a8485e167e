"""Captioned pictures of Debian packages: their captions, their pixels, their splits."""
