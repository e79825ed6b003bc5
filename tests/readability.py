"""Count what slows a reader down: `python -m tests.readability [FOLDER …]`.

A thermometer and no aim: a file that reads well and misses a figure is fine, a file written for the figures is not.
Each figure is printed for every room, with what the project aims at in the last row:

  lines        of code and comments, without blank ones
  participles  functions named by a bare participle (`padded`), and names that stand for anything (`found`, `told`),
               per cent of all functions, arguments, locals and attributes
  packed       assignments of several unrelated values in one line (`a, b = x, y`), per cent of all assignments
  probed       getattr with a default and hasattr, per 1,000 lines
  typed        arguments that are annotated, per cent
  comments     lines that are a comment of their own, per cent
  longest      function, in lines
"""

import argparse
import ast
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
AIMS = {'participles': '0', 'packed': '< 1', 'probed': '< 1', 'typed': '> 90', 'comments': '>= 4', 'longest': '<= 60'}

# Words that stand for anything, and so say nothing: nothing is called by them.
VAGUE = set(
    'alike alone asked asks begun found given gone kept made meant said shown taken told together whole'.split()
)
# Words that end like a participle and are none.
NOUNS = set('bed embed feed hundred need seed speed'.split())


def is_participle(name: str) -> bool:
    """Return whether a function's name is a bare participle: what was done, and not what the function does."""
    word = name.strip('_')
    return word in VAGUE or (bool(re.fullmatch('[a-z]{2,}ed', word)) and word not in NOUNS)


def is_vague(name: str) -> bool:
    """Return whether a name is one of the words that stand for anything."""
    return name.strip('_') in VAGUE


@dataclass
class Counts:
    """Figures of some files.

    Attributes:
      lines: Lines that are not blank.
      comments: Lines that are a comment of their own.
      names: Functions, and the names that each stores: arguments, locals and attributes.
      participles: Functions named by a participle and vague names, as (file, line, name).
      assignments: Statements that assign.
      packed: Those that assign several unrelated values, as (file, line).
      probes: Calls of hasattr, and of getattr with a default, as (file, line).
      arguments: Arguments of functions, without self and cls.
      typed: Those that are annotated.
      longest: Lines of the longest function, its file and its name.
    """

    lines: int = 0
    comments: int = 0
    names: int = 0
    participles: list = field(default_factory=list)
    assignments: int = 0
    packed: list = field(default_factory=list)
    probes: list = field(default_factory=list)
    arguments: int = 0
    typed: int = 0
    longest: tuple = (0, '', '')

    def row(self) -> dict[str, str]:
        """Return the figures as they are printed, by their heading."""
        return {
            'lines': f'{self.lines}',
            'participles': _per_cent(len(self.participles), self.names),
            'packed': _per_cent(len(self.packed), self.assignments),
            'probed': f'{1000 * len(self.probes) / max(self.lines, 1):.1f}',
            'typed': _per_cent(self.typed, self.arguments),
            'comments': _per_cent(self.comments, self.lines),
            'longest': f'{self.longest[0]}',
        }


def _per_cent(part: int, total: int) -> str:
    return f'{100 * part / max(total, 1):.1f}'


def count_file(path: Path, counts: Counts) -> None:
    """Add the figures of a file."""
    text = path.read_text()
    counts.lines += sum(bool(line.strip()) for line in text.splitlines())
    counts.comments += sum(_own_line_comments(path))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            _count_function(node, path, counts)
        elif isinstance(node, ast.Assign):
            counts.assignments += 1
            if _is_packed(node):
                counts.packed.append((path, node.lineno))
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            counts.assignments += 1
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == 'hasattr' or (node.func.id == 'getattr' and len(node.args) > 2):
                counts.probes.append((path, node.lineno))


def _own_line_comments(path):
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
                yield True


def _count_function(node, path, counts):
    length = node.end_lineno - node.lineno + 1
    counts.longest = max(counts.longest, (length, str(path), node.name))

    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments = [argument for argument in arguments if argument.arg not in ('self', 'cls')]
    counts.arguments += len(arguments)
    counts.typed += sum(argument.annotation is not None for argument in arguments)

    names = {argument.arg for argument in arguments} | set(_stored_names(node))
    counts.names += 1 + len(names)
    # A property is an adjective or a noun: `clip.mirrored` reads as it should.
    is_wrong = is_vague if _is_property(node) else is_participle
    bare = [node.name] if is_wrong(node.name) else []
    bare += sorted(filter(is_vague, names))
    counts.participles += [(path, node.lineno, name) for name in bare]


def _is_property(function):
    return any(ast.unparse(decorator).endswith('property') for decorator in function.decorator_list)


def _stored_names(function):
    """Locals and attributes that a function stores, without those of functions within it."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        waiting.extend(ast.iter_child_nodes(node))


def _is_packed(node):
    """Whether a tuple is assigned to a tuple; a swap is none, as it cannot be two statements."""
    target = node.targets[0]
    if not (isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)):
        return False
    stored = {ast.unparse(item) for item in target.elts}
    read = {ast.unparse(item) for value in node.value.elts for item in ast.walk(value) if isinstance(item, ast.expr)}
    return not stored & read


def rooms(folders: list[Path]) -> dict[str, list[Path]]:
    """Return the files of each folder and of its folders, by the room's name."""
    files_by_room = {}
    for folder in folders:
        for path in sorted(folder.rglob('*.py')):
            inside = path.relative_to(folder).parts
            room = f'{folder.name}/{inside[0]}' if len(inside) > 1 else folder.name
            files_by_room.setdefault(room, []).append(path)
    return files_by_room


def print_table(rows: dict[str, dict[str, str]]) -> None:
    """Print one line a room, and the aims below."""
    headings = list(next(iter(rows.values())))
    width = max(map(len, rows))
    for name, row in {'': {heading: heading for heading in headings}, **rows}.items():
        print(f'{name:{width}}', *(f'{row.get(heading, ""):>{len(heading) + 2}}' for heading in headings))


def main() -> None:
    """Print the figures of the folders that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folders', nargs='*', type=Path, default=[ROOT / 'vdm_jax', ROOT / 'data_pipelines'])
    parser.add_argument('--list', action='store_true', help='print where each thing that is counted stands')
    args = parser.parse_args()

    total = Counts()
    rows = {}
    for room, files in rooms(args.folders).items():
        counts = Counts()
        for file in files:
            count_file(file, counts)
            count_file(file, total)
        rows[room] = counts.row()
    print_table(rows | {'all': total.row(), 'aim': AIMS})

    if args.list:
        for kind in ('participles', 'packed', 'probes'):
            for path, line, *names in getattr(total, kind):
                print(f'{kind}: {path.resolve().relative_to(ROOT)}:{line}', *names)


if __name__ == '__main__':
    main()
