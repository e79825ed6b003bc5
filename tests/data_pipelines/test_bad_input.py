import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from vdm_jax.data import decode

av = pytest.importorskip('av')

from tests.data.test_decode import numbers  # noqa: E402, both want PyAV
from tests.data_pipelines import bad_videos  # noqa: E402


def whole(path, **limits):
    """All frames of a file, probed and streamed."""
    video = decode.probe(path, decode.Limits(**limits))
    return video, np.stack([frame for _, frame in decode.stream(video)])


def test_every_bad_file_is_broken_for_its_own_reason(tmp_path):
    reasons = bad_videos.broken(tmp_path) | bad_videos.not_files(tmp_path)
    assert len(reasons) == 21
    found = {}
    for name in reasons:
        began = time.monotonic()
        try:
            whole(tmp_path / name)
            found[name] = 'it decodes'
        except decode.BrokenVideoError as error:
            found[name] = str(error)
        assert time.monotonic() - began < 5, name
    wrong = {name: found[name] for name, reason in reasons.items() if not re.search(reason, found[name])}
    assert not wrong


def test_every_strange_but_whole_file_decodes_to_its_frames(tmp_path, monkeypatch):
    names = bad_videos.sound(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in names:
        for path in (tmp_path / name, name):  # by itself a name could be an option or an address
            video, frames = whole(path)
            np.testing.assert_array_equal(numbers(frames), np.arange(12), err_msg=name)
            np.testing.assert_array_equal(numbers(decode.read(video, [7, 2])), [7, 2], err_msg=name)
