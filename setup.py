"""What pyproject.toml cannot say: two folders travel inside the package, traces/ as its datasets, servers/ as itself.

The tables become loadgen/datasets/*.csv, the scripts that start engines loadgen/servers/*.py.
"""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

TABLES, SCRIPTS = "loadgen.datasets", "loadgen.servers"


class BuildTables(build_py):
    """The script that made the tables stays behind."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        return [] if package == TABLES else super().find_package_modules(package, package_dir)


setup(
    packages=[*find_packages(include=["loadgen", "loadgen.*"]), TABLES, SCRIPTS],
    package_dir={TABLES: "traces", SCRIPTS: "servers"},
    cmdclass={"build_py": BuildTables},
)
