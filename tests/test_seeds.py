import numpy as np
import pytest

from tests import seeds


def test_a_seed_is_fresh_and_printed(monkeypatch, capsys):
    monkeypatch.delenv(seeds.VARIABLE, raising=False)
    drawn = [seeds.seed() for _ in range(4)]
    assert len(set(drawn)) == 4
    assert capsys.readouterr().out.splitlines() == [f'to draw the same again: VDM_JAX_TEST_SEED={n}' for n in drawn]


@pytest.mark.parametrize('number', [0, 4242])
def test_the_environment_repeats_a_seed(number, monkeypatch, capsys):
    monkeypatch.setenv('VDM_JAX_TEST_SEED', str(number))
    assert seeds.seed() == number
    assert f'VDM_JAX_TEST_SEED={number}\n' in capsys.readouterr().out
    np.testing.assert_array_equal(seeds.generator().bytes(8), np.random.default_rng(number).bytes(8))


def test_what_a_printed_seed_draws_is_drawn_again(monkeypatch, capsys):
    monkeypatch.delenv(seeds.VARIABLE, raising=False)
    first = seeds.generator().bytes(8)
    monkeypatch.setenv(*capsys.readouterr().out.split()[-1].split('='))
    assert seeds.generator().bytes(8) == first


def test_a_seed_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv(seeds.VARIABLE, 'any')
    with pytest.raises(ValueError, match='any'):
        seeds.seed()
