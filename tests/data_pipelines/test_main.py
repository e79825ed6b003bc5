import pytest

from data_pipelines import cache_text, verify
from data_pipelines.__main__ import main


@pytest.mark.parametrize(
    ('command', 'module', 'code', 'said'),
    [
        (['verify', 'S'], verify, 130, 'stopped'),
        (['cache-text', '--records=S', '--out=T', '--encoder=hashing'], cache_text, 3, 'the same command goes on'),
    ],
)
def test_ctrl_c_says_whether_it_goes_on(command, module, code, said, monkeypatch, capsys):
    monkeypatch.setattr(module, 'run', lambda parsed: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(command) == code
    assert capsys.readouterr().err.strip().endswith(said)
