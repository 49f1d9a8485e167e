"""Small helpers without a dependency on the rest of the package."""

# MMEngine's hub looks for this function here.
from uniadapter.registry import register_all_modules

__all__ = ["register_all_modules"]
