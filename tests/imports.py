"""Which modules a file imports, as the rules about imports look at it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def is_for_types(node: ast.AST) -> bool:
    """Whether this is `if TYPE_CHECKING:`, whose imports no running program does."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ('TYPE_CHECKING', 'typing.TYPE_CHECKING')


def imports(file: Path, types: bool = True) -> Iterator[tuple[str, int]]:
    """Every module a file imports, wherever in it: ('vdm_jax.nn.mlp', line); a relative one begins with a dot.

    types: whether those for types alone are among them.
    """
    tree = ast.parse(file.read_text())
    if not types:
        for node in filter(is_for_types, ast.walk(tree)):
            node.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = '.' * node.level + (node.module or '')
            for alias in node.names:
                # `from package import module` is an import of the module, `from module import name` is not.
                deeper = f'{module}.{alias.name}'
                path = ROOT / Path(*deeper.split('.'))
                is_module = path.with_suffix('.py').exists() or path.is_dir()
                yield deeper if is_module and not node.level else module, node.lineno
