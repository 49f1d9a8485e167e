"""Installation of the ``uniadapter`` package."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Read the version without importing the package."""
    text = (ROOT / "uniadapter" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise ValueError("uniadapter/version.py does not define __version__.")
    return found.group(1)


def read_requirements(name: str) -> list[str]:
    """Read the requirement lines of ``requirements/<name>.txt``."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def read_readme() -> str:
    """Read the long description, empty in a source tree without a README."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="uniadapter",
    version=read_version(),
    description="Parameter-efficient adaptation of frozen vision-language models with UniAdapter",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="vision-language, parameter-efficient, adapter, video retrieval, BLIP, OpenMMLab",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["uniadapter", "uniadapter.*"]),
    package_data={"uniadapter": ["py.typed", "assets/*"]},
    python_requires=">=3.10",
    install_requires=read_requirements("runtime"),
    extras_require={
        "optional": read_requirements("optional"),
        "tests": read_requirements("tests") + read_requirements("optional"),
        "docs": read_requirements("docs"),
    },
    zip_safe=False,
)
