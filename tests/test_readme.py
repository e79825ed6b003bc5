"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_ten_lines_run(tmp_path, monkeypatch):
    (block,) = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), flags=re.S)
    assert 'train.steps=200' in block
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'experiments').symlink_to(ROOT / 'experiments')
    exec(block.replace('train.steps=200', 'train.steps=2'), {})  # our own documentation
    assert (tmp_path / 'two_balls.gif').stat().st_size > 100


def test_the_table_of_what_to_change_names_files_and_entries_that_are_there():
    """Every file in the first two columns exists, and every entry is a name in the file beside it."""
    text = (ROOT / 'README.md').read_text()
    rows = [
        line.split('|')[1:4]
        for line in text[text.index('## How do I change X?') :].splitlines()
        if line.startswith('| ')
    ]
    changed = {what.strip(): (open_, entry) for what, open_, entry in rows[2:]}
    for what in ('a layout of attention', 'a process', 'a loss weighting', 'a sampler', 'a source of clips'):
        assert what in changed
    assert any('spacing' in what for what in changed)
    for where, entry in changed.values():
        files = re.findall(r'`(vdm_jax/[\w/]+(?:\.py)?/?)`', f'{where} {entry}')
        assert all((ROOT / file).exists() for file in files), files
        holder = re.findall(r'`(vdm_jax/[\w/]+\.py)`', entry) or re.findall(r'`(vdm_jax/[\w/]+\.py)`', where)
        for name in re.findall(r'`([A-Z_]+)`', entry):
            assert re.search(rf'^{name}(: .*)? = ', (ROOT / holder[0]).read_text(), flags=re.M), (name, holder)
