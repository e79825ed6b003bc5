"""The newest versions that the tests passed with, and a line about newer ones where a command fails inside them."""

import ast
import importlib.metadata
import inspect
import itertools
import linecache
import re
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

# Written by `make constraints`.
NEWEST_TESTED = {
    'apache-beam': '2.77.0',
    'array_record': '0.8.6',
    'av': '19.0.2',
    'etils': '1.15.0',
    'flax': '0.12.12',
    'grain': '0.2.18',
    'imagehash': '4.3.2',
    'jax': '0.12.0.1',
    'ml-collections': '1.1.0',
    'msgpack': '1.2.4',
    'numpy': '2.4.6',
    'opencv-python-headless': '5.0.0.93',
    'optax': '0.2.8',
    'orbax-checkpoint': '0.12.8',
    'pebble': '5.2.3',
    'pillow': '12.3.0',
    'pyarrow': '25.0.1',
    'safetensors': '0.8.0',
    'scenedetect-headless': '0.7.2',
    'tensorboardX': '2.6.5',
    'tensorflow-datasets': '4.9.10',
    'tqdm': '4.70.1',
}
OWN = ('vdm_jax', 'data_pipelines')
# jax requires the jaxlib that belongs to it, so the cure names jax.
COMES_WITH = {'jaxlib': 'jax'}


def warn_of_newer(error: BaseException) -> None:
    """Print a line on stderr about the dependencies that may have caused the error and are newer than tested.

    Called before the traceback is printed, so that it is what a user reads first.
    """
    newer = newer_dependencies(error)
    if newer:
        listed = ', '.join(f'{name} {version} (tested up to {NEWEST_TESTED[name]})' for name, version in newer.items())
        cure = ' '.join(f"'{name}<={NEWEST_TESTED[name]}'" for name in newer)
        print(
            f'vdm_jax: newer than tested: {listed}; if the error below is of their making: pip install {cure}',
            file=sys.stderr,
        )


def newer_dependencies(error: BaseException | None) -> dict[str, str]:
    """Return {name: installed version} of the dependencies that are newer than tested and in which the error arose.

    A function that was removed or has other arguments than before fails as a TypeError, an AttributeError or an
    ImportError. It arose in the packages that our code was calling when it was raised, as the traceback has them, and
    in those of the call that failed: a function that is not written in Python, or refuses its arguments, has no frame.
    """
    modules: set[str] = set()
    # Also those of the errors that it was raised from: ours may explain one of jax's.
    while error is not None:
        if isinstance(error, TypeError | AttributeError | ImportError):
            modules |= set(_modules(error))
        error = error.__cause__ or error.__context__

    owners = importlib.metadata.packages_distributions()
    tops = {module.partition('.')[0] for module in modules}
    suspects = {_normalize(name) for top in tops for name in owners.get(COMES_WITH.get(top, top), ())}
    installed = {name: importlib.metadata.version(name) for name in NEWEST_TESTED if _normalize(name) in suspects}
    return {name: version for name, version in installed.items() if _numbers(version) > _numbers(NEWEST_TESTED[name])}


def _normalize(name: str) -> str:
    """Return a package's name as all its spellings are compared (PEP 503)."""
    return re.sub('[-_.]+', '-', name).lower()


def _numbers(version: str) -> list[int]:
    """Return the numbers of a version, which compare as versions do: [0, 12, 0, 1] of '0.12.0.1'."""
    return [int(number) for number in re.findall(r'\d+', version)]


def _modules(error: Exception) -> Iterator[str]:
    """Yield the modules of the frames below our own innermost one, of what its line calls, and of what is missing."""
    steps = list(traceback.walk_tb(error.__traceback__))
    # A frame of Cython has no globals; its function is called by the module's name too.
    modules = [frame.f_globals.get('__name__', frame.f_code.co_name) for frame, _ in steps]

    # What called us is not to blame for what we call.
    own = [index for index, module in enumerate(modules) if module.partition('.')[0] in OWN]
    yield from modules[own[-1] + 1 if own else 0 :]
    if isinstance(error, ImportError) and error.name:
        yield error.name
    if isinstance(error, AttributeError):
        yield from _modules_of(error.obj)
    if error.__traceback__ is not None:
        yield from _callees(error.__traceback__)


def _callees(tb: TracebackType) -> Iterator[str]:
    """Yield the modules of what the innermost frame was calling and of the way to it: of jax.lax.scan() jax, jax.lax.

    A call that refuses its arguments has no frame of its own, so the line that calls is parsed.
    """
    while tb.tb_next:
        tb = tb.tb_next
    code = tb.tb_frame.f_code
    # There is one position for each instruction, and instructions have two bytes.
    positions = next(itertools.islice(code.co_positions(), max(tb.tb_lasti, 0) // 2, None), None)
    try:
        tree = ast.parse(''.join(linecache.getlines(code.co_filename, tb.tb_frame.f_globals)))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset) == positions:
                yield from _owners(node.func, tb.tb_frame.f_globals | tb.tb_frame.f_locals)


def _owners(node: ast.expr, names: dict[str, Any]) -> Iterator[str]:
    """Yield the modules of a, a.b and a.b.c, of the expression a.b.c."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    if not (isinstance(node, ast.Name) and node.id in names):
        return
    value = names[node.id]
    yield from _modules_of(value)
    for attribute in attributes:
        try:
            value = getattr(value, attribute)
        except AttributeError:
            return
        yield from _modules_of(value)


def _modules_of(value: object) -> tuple[str, str]:
    """Return the name of a module; else the modules of a value and its class: of a jitted function ours and jax's."""
    if inspect.ismodule(value):
        return value.__name__, ''
    return str(getattr(value, '__module__', '')), type(value).__module__
