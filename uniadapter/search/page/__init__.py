"""The page of an index and its JSON API (``uniadapter serve``); needs the extra ``search``."""
