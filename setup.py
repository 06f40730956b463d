"""What pyproject.toml cannot say: folders of the repository that an installed package carries."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("firmware", "sumo-configs")


class BuildWithFolders(build_py):
    """Copies `CARRIED` to where `ml.installation.repository_folder` finds them."""

    def run(self) -> None:
        """Build; an installation for editing has the folders where they are."""
        super().run()
        if not self.editable_mode:
            carried = Path(self.build_lib) / "ml" / "carried"
            shutil.rmtree(carried, ignore_errors=True)  # of an earlier build
            for name in CARRIED:
                shutil.copytree(name, carried / name)


setup(cmdclass={"build_py": BuildWithFolders})
