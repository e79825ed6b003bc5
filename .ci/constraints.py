"""Makes .ci/constraints.txt, and of it the tables of docs/launch.md and vdm_jax/cli/versions.py: make constraints

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
PAGE, BEGIN, END = ROOT / 'docs' / 'launch.md', '<!-- versions of `make constraints` -->', '<!-- end of versions -->'
TABLE = ROOT / 'vdm_jax' / 'cli' / 'versions.py'
HEAD = '# What the tests passed with; `make demo` and `make test` install by it. Made by `make constraints`.\n'
# What builds the packages that have no wheel, and what installs all of them, may break a fresh machine as well.
TOOLS = ('pip', 'setuptools')

Pins = dict[str, dict[str, str]]  # {package: {Python: version}}


def setup_cfg() -> configparser.ConfigParser:
    """What setup.cfg says."""
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / 'setup.cfg')
    return parsed


def pythons() -> list[str]:
    """The Pythons that vdm_jax is tested on, oldest first: ['3.11', …]."""
    return re.findall(r'Python :: (3\.\d+)', setup_cfg()['metadata']['classifiers'])


def dependencies() -> list[str]:
    """The packages that vdm_jax and its extras video, curate and beam ask for by name."""
    parsed = setup_cfg()
    extras = parsed['options.extras_require']
    lines = '\n'.join([parsed['options']['install_requires'], extras['video'], extras['curate'], extras['beam']])
    names = {Requirement(line).name for line in lines.splitlines() if line.strip()}
    return sorted(names, key=canonicalize_name)


def resolve(python: str) -> dict[str, str]:
    """{package: version} of what pip would install today with that interpreter."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([python, '-m', 'venv', place], check=True)
        pip = [f'{place}/bin/python', '-m', 'pip', 'install', '-qq']
        # Limits that a machine's own settings have are none of ours.
        environment = os.environ | {'PIP_CONSTRAINT': os.devnull}
        subprocess.run([*pip, '--upgrade', 'pip'], check=True, env=environment)
        dry = ['--dry-run', '--ignore-installed', '--report=-', '.[video,dev]', *TOOLS]
        report = subprocess.run([*pip, *dry], check=True, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    packages = [package['metadata'] for package in json.loads(report.stdout)['install']]
    return {canonicalize_name(each['name']): each['version'] for each in packages if each['name'] != 'vdm_jax'}


def read(text: str, versions: list[str]) -> Pins:
    """The pins of a constraints file on those Pythons."""
    pins = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith('#'):
            pin = Requirement(line)
            (version,) = pin.specifier
            on = [each for each in versions if pin.marker.evaluate({'python_version': each})]
            pins.setdefault(pin.name, {}).update(dict.fromkeys(on, version.version))
    return pins


def write(pins: Pins, versions: list[str]) -> str:
    """The text of a constraints file: packages by name, a line for all Pythons in a row that have the same version."""

    def after(python):
        return f'3.{int(python.partition(".")[2]) + 1}'

    lines = []
    for name in sorted(pins):
        runs = []  # [version, first Python, last Python]
        for python in versions:
            version = pins[name].get(python)
            if runs and runs[-1][0] == version:
                runs[-1][2] = python
            else:
                runs.append([version, python, python])
        for version, first, last in runs:
            low = f'python_version >= "{first}" and ' if first != versions[0] else ''
            if version is not None:
                lines.append(f'{name}=={version} ; {low}python_version < "{after(last)}"\n')
    return HEAD + ''.join(lines)


def newest(pins: Pins, versions: list[str]) -> dict[str, str]:
    """{package: newest version} of the dependencies that setup.cfg names, as it spells them."""
    on_all = {name: pins[canonicalize_name(name)] for name in dependencies()}

    def key(version):
        return [int(number) for number in re.findall(r'\d+', version)]

    return {name: max((on[python] for python in versions if python in on), key=key) for name, on in on_all.items()}


def docs_table(pins: Pins, versions: list[str]) -> list[str]:
    """The lines of the table of docs/launch.md."""

    def row(name):
        return (name, *(pins[canonicalize_name(name)].get(python, '') for python in versions))

    return docs_tables.table(('', *(f'Python {python}' for python in versions)), [row(name) for name in dependencies()])


def code_table(text: str, versions: dict[str, str]) -> str:
    """The text of vdm_jax/cli/versions.py with that table."""
    lines = ''.join(f"    '{name}': '{version}',\n" for name, version in versions.items())
    return re.sub(r'(?<=NEWEST_TESTED = \{\n)(.*?)(?=^\})', lines, text, flags=re.DOTALL | re.MULTILINE)


def main() -> int:
    """Writes all three. Raises: CalledProcessError where pip finds no versions that fit together."""
    versions = pythons()
    listing = subprocess.run(['bash', ROOT / '.ci' / 'pythons'], check=True, stdout=subprocess.PIPE, text=True).stdout
    here = dict(line.split(maxsplit=1) for line in listing.splitlines())
    old = read(CONSTRAINTS.read_text() if CONSTRAINTS.exists() else '', versions)
    pins = {}
    for python in versions:
        if python in here:
            resolved = resolve(here[python])
        else:
            resolved = {name: on[python] for name, on in old.items() if python in on}
        print(
            f'Python {python}: {f"{len(resolved)} packages" if python in here else "not here, its lines stay"}',
            flush=True,
        )
        for name, version in resolved.items():
            pins.setdefault(name, {})[python] = version
    CONSTRAINTS.write_text(write(pins, versions))
    docs_tables.replace(str(PAGE), BEGIN, END, docs_table(pins, versions))
    TABLE.write_text(code_table(TABLE.read_text(), newest(pins, versions)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
