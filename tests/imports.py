"""Which modules a file imports, as the rules about imports look at it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Every module a file imports, wherever in it: ('vdm_jax.nn.mlp', line); a relative one begins with a dot."""
    for node in ast.walk(ast.parse(file.read_text())):
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
