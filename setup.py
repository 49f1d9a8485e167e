"""Installation of the ``uniadapter`` package."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
#: What an installation carries beside the modules, in the folder that MMEngine's hub looks in.
RESOURCES = ("configs", "tools", "model-index.yml")
RESOURCE_FOLDER = Path("uniadapter", ".mim")


class BuildWithResources(build_py):
    """Copies configs, tools and the model index beside the modules.

    A checkout has links in that place (see uniadapter/utils/paths.py), so an editable
    installation copies nothing.
    """

    def run(self) -> None:
        """Build the modules, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / RESOURCE_FOLDER
        # The build folder may hold files of an earlier build that are gone since.
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in RESOURCES:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(source, target / name, ignore=ignored)
            else:
                shutil.copy2(source, target / name)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Files that the build makes, the copied ones included."""
        copied = (Path(self.build_lib) / RESOURCE_FOLDER).rglob("*")
        files = [str(path) for path in copied if path.is_file()]
        return [*super().get_outputs(include_bytecode), *files]


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
    author="The uniadapter contributors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="vision-language, parameter-efficient, adapter, video retrieval, BLIP, OpenMMLab",
    project_urls={
        "Paper": "https://arxiv.org/abs/2302.06605",
        "UniPT paper": "https://arxiv.org/abs/2308.14316",
        "VL-Adapter paper": "https://arxiv.org/abs/2112.06825",
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Environment :: GPU",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Multimedia :: Video",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["uniadapter", "uniadapter.*"]),
    package_data={"uniadapter": ["py.typed", "assets/*", "search/page/static/*"]},
    entry_points={"console_scripts": ["uniadapter=uniadapter.cli.main:main"]},
    cmdclass={"build_py": BuildWithResources},
    python_requires=">=3.10",
    install_requires=read_requirements("runtime"),
    extras_require={
        "optional": read_requirements("optional"),
        "tests": read_requirements("tests") + read_requirements("optional"),
        "docs": read_requirements("docs"),
        "search": read_requirements("search"),
        "export": read_requirements("export"),
        "corpus": read_requirements("corpus"),
        "sentence-transformers": read_requirements("sentence-transformers"),
    },
    zip_safe=False,
)
