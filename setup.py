"""What pyproject.toml cannot say: the tables under traces/ travel inside the package, as loadgen/datasets/*.csv."""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

TABLES = "loadgen.datasets"


class BuildTables(build_py):
    """The script that made the tables stays behind."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        return [] if package == TABLES else super().find_package_modules(package, package_dir)


setup(
    packages=[*find_packages(include=["loadgen", "loadgen.*"]), TABLES],
    package_dir={TABLES: "traces"},
    cmdclass={"build_py": BuildTables},
)
