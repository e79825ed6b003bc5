"""House rules of words: what functions, arguments, locals and attributes are not called, and what prose does not say.

The rules and the glossary are in CONTRIBUTING.md; `python -m tests.readability` has the other figures.
"""

import re
import tokenize

import pytest

from tests.imports import ROOT
from tests.readability import Counts, count_file

ROOMS = sorted(path for path in (ROOT / 'vdm_jax').iterdir() if path.is_dir() and any(path.glob('*.py')))
FOLDERS = [*ROOMS, ROOT / 'data_pipelines', ROOT / 'experiments', ROOT / 'tests']

# Words of prose that stood for many things here, with what is said instead.
PRIVATE = {
    'told': 'conditioned on (of a network), printed, set, reported',
}
# In the names of files that are written so.
NAMES_OF_FILES = re.compile(r"told-[\w*]|\(moments\|told\|done\)|^'told'$")


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_names_are_verbs_and_nouns(folder):
    counts = Counts()
    for path in sorted(folder.rglob('*.py')):
        count_file(path, counts)
    bare = [f'{path.relative_to(ROOT)}:{line} {name}' for path, line, name in counts.participles]
    assert not bare, 'name the thing, or say what the function does:\n' + '\n'.join(bare)


@pytest.mark.parametrize('text, names', [
    ('def padded(x): return x', ['padded']),
    ('def f(told): return told', ['told']),
    ('def f(): found = 1', ['found']),
    ('class A:\n  def __init__(self, x): self.kept = x', ['kept']),
    ('class A:\n  @property\n  def mirrored(self): return 1', []),
    ('class A:\n  @functools.cached_property\n  def asked(self): return 1', ['asked']),
    ('def pad(need): seed = need', []),
])  # fmt: skip
def test_names_that_say_nothing_are_counted(text, names, tmp_path):
    path = tmp_path / 'file.py'
    path.write_text(text)
    counts = Counts()
    count_file(path, counts)
    assert [name for _, _, name in counts.participles] == names


def test_prose_uses_the_words_of_the_field():
    private = []
    for folder in FOLDERS[:-1]:
        for path in sorted(folder.rglob('*.py')):
            private += private_words(path)
    assert not private, '\n'.join(private)


def private_words(path):
    """Return 'file:line word: what to say instead' for each private word in comments, docstrings and messages."""
    words = re.compile(rf'\b({"|".join(PRIVATE)})\b')
    lines = []
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                prose = NAMES_OF_FILES.sub('', token.string)
                for word in words.findall(prose):
                    lines.append(f'{path.relative_to(ROOT)}:{token.start[0]} {word}: {PRIVATE[word]}')
    return lines
