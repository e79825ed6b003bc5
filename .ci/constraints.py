"""Make .ci/constraints.txt, and from it the tables of docs/launch.md and vdm_jax/cli/versions.py (`make constraints`).

For each Python of setup.cfg's classifiers that is here, pip says what it would install of vdm_jax[video,dev] today.
The lines of a Python that is not here stay as they are. Other Pythons have none: there pip takes what it finds.
"""

import configparser
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vdm_jax.planning import docs_tables

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / '.ci' / 'constraints.txt'
PAGE = ROOT / 'docs' / 'launch.md'
BEGIN = '<!-- versions of `make constraints` -->'
END = '<!-- end of versions -->'
TABLE = ROOT / 'vdm_jax' / 'cli' / 'versions.py'
HEAD = '# What the tests passed with; `make demo` and `make test` install by it. Made by `make constraints`.\n'
# What builds the packages that have no wheel, and what installs all of them, may break a fresh machine as well.
TOOLS = ('pip', 'setuptools')

Pins = dict[str, dict[str, str]]  # {package: {Python: version}}


def setup_cfg() -> configparser.ConfigParser:
    """Return the content of setup.cfg."""
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / 'setup.cfg')
    return parsed


def pythons() -> list[str]:
    """Return the Pythons that vdm_jax is tested on, oldest first: ['3.11', …]."""
    return re.findall(r'Python :: (3\.\d+)', setup_cfg()['metadata']['classifiers'])


def dependencies() -> list[str]:
    """Return the packages that vdm_jax and its extras video, curate and beam ask for by name."""
    parsed = setup_cfg()
    extras = parsed['options.extras_require']
    lines = '\n'.join([parsed['options']['install_requires'], extras['video'], extras['curate'], extras['beam']])
    # A package that two extras ask for is listed once.
    names = {Requirement(line).name for line in lines.splitlines() if line.strip()}
    return sorted(names, key=canonicalize_name)


def resolve(python: str) -> dict[str, str]:
    """Return {package: version} of what pip would install today with an interpreter; `python` is its path."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, '-m', 'venv', folder], check=True)
        pip = [f'{folder}/bin/python', '-m', 'pip', 'install', '-qq']
        # Constraints in the settings of this machine must not decide what others install.
        environment = os.environ | {'PIP_CONSTRAINT': os.devnull}
        subprocess.run([*pip, '--upgrade', 'pip'], check=True, env=environment)
        dry = ['--dry-run', '--ignore-installed', '--report=-', '.[video,dev]', *TOOLS]
        report = subprocess.run([*pip, *dry], check=True, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    packages = [package['metadata'] for package in json.loads(report.stdout)['install']]
    return {canonicalize_name(each['name']): each['version'] for each in packages if each['name'] != 'vdm_jax'}


def read(text: str, versions: list[str]) -> Pins:
    """Return the pins of a constraints file on these Pythons."""
    pins: Pins = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith('#'):
            pin = Requirement(line)
            (version,) = pin.specifier
            assert pin.marker is not None  # as write() gives each line one
            matches = [python for python in versions if pin.marker.evaluate({'python_version': python})]
            pins.setdefault(pin.name, {}).update(dict.fromkeys(matches, version.version))
    return pins


def write(pins: Pins, versions: list[str]) -> str:
    """Return the text of a constraints file: packages by name, one line for a run of Pythons with the same version."""

    def next_minor(python: str) -> str:
        return f'3.{int(python.partition(".")[2]) + 1}'

    lines = []
    for name in sorted(pins):
        for version, first, last in _version_runs(pins[name], versions):
            # The oldest Python needs no lower end: pip runs on no older one.
            low = f'python_version >= "{first}" and ' if first != versions[0] else ''
            lines.append(f'{name}=={version} ; {low}python_version < "{next_minor(last)}"\n')
    return HEAD + ''.join(lines)


def _version_runs(on_pythons: dict[str, str], versions: list[str]) -> list[tuple[str, str, str]]:
    """Return (version, first Python, last Python) of each run of Pythons with the same version of a package."""
    runs: list[tuple[str, str, str]] = []
    previous = None
    for python in versions:
        version = on_pythons.get(python)
        if version is not None and version == previous:
            runs[-1] = (version, runs[-1][1], python)
        elif version is not None:
            runs.append((version, python, python))
        # A Python without the package ends a run.
        previous = version
    return runs


def newest(pins: Pins, versions: list[str]) -> dict[str, str]:
    """Return {package: newest version} of the dependencies that setup.cfg names, as it spells them."""

    def sort_key(version: str) -> list[int]:
        return [int(number) for number in re.findall(r'\d+', version)]

    newest_versions = {}
    for name in dependencies():
        on_pythons = pins[canonicalize_name(name)]
        tested = [on_pythons[python] for python in versions if python in on_pythons]
        newest_versions[name] = max(tested, key=sort_key)
    return newest_versions


def docs_table(pins: Pins, versions: list[str]) -> list[str]:
    """Return the lines of the table of docs/launch.md."""

    def row(name: str) -> tuple[str, ...]:
        return (name, *(pins[canonicalize_name(name)].get(python, '') for python in versions))

    return docs_tables.table(('', *(f'Python {python}' for python in versions)), [row(name) for name in dependencies()])


def code_table(text: str, versions: dict[str, str]) -> str:
    """Return the text of vdm_jax/cli/versions.py with these versions in its table."""
    lines = ''.join(f"    '{name}': '{version}',\n" for name, version in versions.items())
    return re.sub(r'(?<=NEWEST_TESTED = \{\n)(.*?)(?=^\})', lines, text, flags=re.DOTALL | re.MULTILINE)


def main() -> int:
    """Write all three files.

    Raises:
      CalledProcessError: pip finds no versions that fit together.
    """
    versions = pythons()
    listing = subprocess.run(['bash', ROOT / '.ci' / 'pythons'], check=True, stdout=subprocess.PIPE, text=True).stdout
    interpreters = dict(line.split(maxsplit=1) for line in listing.splitlines())
    old_pins = read(CONSTRAINTS.read_text() if CONSTRAINTS.exists() else '', versions)
    pins: Pins = {}
    for python in versions:
        if python in interpreters:
            resolved = resolve(interpreters[python])
            note = f'{len(resolved)} packages'
        else:
            resolved = {name: on_pythons[python] for name, on_pythons in old_pins.items() if python in on_pythons}
            note = 'not here, its lines stay'
        # At once, since pip takes minutes for each.
        print(f'Python {python}: {note}', flush=True)
        for name, version in resolved.items():
            pins.setdefault(name, {})[python] = version
    CONSTRAINTS.write_text(write(pins, versions))
    docs_tables.replace(str(PAGE), BEGIN, END, docs_table(pins, versions))
    TABLE.write_text(code_table(TABLE.read_text(), newest(pins, versions)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
