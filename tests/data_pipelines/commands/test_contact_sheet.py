import numpy as np
import pytest

Image = pytest.importorskip('PIL.Image')

from data_pipelines.commands.contact_sheet import FRAME, GAP, Cell, wrap, write_sheet  # noqa: E402
from vdm_jax.errors import UserError  # noqa: E402


def short(words):
    return len(words) <= 10


@pytest.mark.parametrize(
    ('text', 'most', 'lines'),
    [
        ('', 2, []),
        ('one two', 2, ['one two']),
        ('one two three four', 2, ['one two', 'three four']),
        ('one two three four five', 2, ['one two', 'three fou…']),
        ('unbreakable words', 3, ['unbreakab', 'le words']),
        ('one\ntwo\tthree', 1, ['one two t…']),
        ('caf\udce9', 1, ['caf?']),  # of a name that is not text
    ],
)
def test_words_are_wrapped_at_spaces_and_cut_at_the_last_line(text, most, lines):
    assert wrap(text, short, most) == lines


def test_every_cell_has_its_frames_fitted_and_its_own_place(tmp_path):
    colours = (200, 0, 0), (0, 160, 0), (0, 0, 220)
    shapes = (90, 160), (400, 100), (7, 300)
    cells = [
        Cell([np.broadcast_to(np.uint8(colour), (*shape, 3))] * 2, ['key', 'about', 'caption'])
        for colour, shape in zip(colours, shapes, strict=True)
    ]
    write_sheet(tmp_path / 'sheet.png', cells, ['what all of it is'])
    sheet = np.asarray(Image.open(tmp_path / 'sheet.png').convert('RGB')).astype(int)
    for number, (colour, (height, width)) in enumerate(zip(colours, shapes, strict=True)):
        at = np.argwhere((sheet == colour).all(-1))
        scale = min(FRAME[0] / width, FRAME[1] / height)
        assert len(at) == 2 * round(height * scale) * round(width * scale)
        assert (at[:, 1].min() > sheet.shape[1] // 2) == (number == 1)
        assert at[:, 1].min() >= GAP


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='sheet.png: .*; name another file'):
        write_sheet(tmp_path / 'file' / 'sheet.png', [Cell([], ['nothing'])])
