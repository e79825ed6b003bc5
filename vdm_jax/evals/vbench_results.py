"""What VBench's own evaluation has written (*_eval_results.json), as a score.

Its file is {dimension: [value, [{"video_path": …, "video_results": …}, …]]}; of dimensions that were evaluated one
after the other there are several files.
"""

import hashlib
import math
import os
from typing import Any, NamedTuple

from etils import epath

from vdm_jax import files
from vdm_jax.errors import UserError
from vdm_jax.evals.score import Score
from vdm_jax.evals.vbench import IMAGE_TO_VIDEO, REVISION, TEXT_TO_VIDEO, Suite

ENDING = '_eval_results.json'
LARGEST = 2**28  # bytes of a file of results


class Result(NamedTuple):
    """What VBench found of a dimension.

    Attributes:
      value: Its own, not on the common scale; None where it could not be measured.
      videos: Their paths, as VBench had them.
      path: The file that it stands in.
    """

    value: float | None
    videos: frozenset[str]
    path: str


def read_vbench(path: str) -> Score:
    """Return the score that VBench's results make: each dimension, each part, the total, and what is missing.

    VBench's own script counts a dimension that is missing as 0; here there is no total without it.

    Args:
      path: A file of results, or a directory with some (*_eval_results.json).

    Raises:
      UserError: Nothing is there, a file is none of VBench's results, or two of them differ on a dimension.
    """
    results: dict[str, Result] = {}
    hashes = {}
    for file in list_files(path):
        content = files.read_bytes(file, LARGEST)
        hashes[os.path.basename(file)] = hashlib.sha256(content).hexdigest()
        for name, result in parse_results(content, file).items():
            other = results.setdefault(name, result)
            if other.value != result.value:
                raise UserError(
                    f'{file}: {name} is {result.value} here and {other.value} in {other.path}: keep one of the two'
                )
    suite = choose_suite(results, path)
    return make_score(suite, results, {'vbench': path, 'vbench_revision': REVISION, 'results_sha256': hashes})


def list_files(path: str) -> list[str]:
    """Return the files of results of a path: itself, or those in it.

    Raises:
      UserError: There are none.
    """
    if not files.is_directory(path, f'--vbench={path}'):
        return [path]
    names = sorted(file.name for file in epath.Path(path).iterdir() if file.name.endswith(ENDING))
    if not names:
        raise UserError(f'--vbench={path}: no file in it ends with {ENDING}, as those do that VBench writes')
    return [os.path.join(path, name) for name in names]


def parse_results(content: bytes, path: str) -> dict[str, Result]:
    """Return the dimensions of a file of results.

    Raises:
      UserError: It is none.
    """
    values = files.parse_json(content, path)
    if not isinstance(values, dict) or not values:
        raise UserError(f'{path}: want VBench\'s results, {{"dimension": [value, [videos]], …}}')
    known = TEXT_TO_VIDEO.dimensions | IMAGE_TO_VIDEO.dimensions
    for name in values:
        if name not in known:
            raise UserError(f'{path}: {name!r:.60} is no dimension of VBench; want some of {", ".join(known)}')
    return {name: parse_result(value, name, path) for name, value in values.items()}


def parse_result(entry: Any, name: str, path: str) -> Result:
    """Return what a file says of one dimension: [value, [{"video_path": …}, …]].

    Raises:
      UserError: It is of another form, or the value is out of range.
    """
    rows = entry[1] if isinstance(entry, list) and len(entry) > 1 else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f'{path}: {name} is {entry!r:.60}; want [value, [{{"video_path": …}}, …]]')
    value = entry[0]
    videos = frozenset(str(row.get('video_path')) for row in rows)
    if value is None:
        return Result(None, videos, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f'{path}: the value of {name} is {value!r:.60}; want a number')
    # The mean over no videos is nan.
    if math.isnan(value):
        return Result(None, videos, path)
    # Similarities may lie below 0; a percentage would make a total beyond all others.
    if not -1 <= value <= 1:
        raise UserError(f'{path}: the value of {name} is {value:g}; want a share, at most 1')
    return Result(float(value), videos, path)


def choose_suite(results: dict[str, Result], path: str) -> Suite:
    """Return the suite whose dimensions these are: of text to video where they could be of both.

    Raises:
      UserError: They are of several.
    """
    for suite in (TEXT_TO_VIDEO, IMAGE_TO_VIDEO):
        if {*results} <= {*suite.dimensions}:
            return suite
    raise UserError(f'{path}: has dimensions of text to video and of image to video; give the files of one of the two')


def make_score(suite: Suite, results: dict[str, Result], about: dict[str, Any]) -> Score:
    """Return the score of a suite's results, with `about` beside it."""
    figures: dict[str, dict[str, float | None]] = {}
    scores: dict[str, float] = {}
    for name, dimension in suite.dimensions.items():
        result = results.get(name)
        if result is None:
            continue
        figures[name] = {'value': result.value, 'score': None, 'videos': len(result.videos)}
        if result.value is not None:
            scores[name] = dimension.normalise(result.value)
            figures[name]['score'] = scores[name]
    figures |= {name: {'score': score} for name, score in suite.total(scores).items()}

    missing = [name for name in suite.dimensions if name not in scores]
    without = f'without {", ".join(missing)} there is no total (the script of VBench would count each as 0)'
    videos = frozenset().union(*(result.videos for result in results.values()))
    settings = {'samples': len(videos), 'missing': missing, 'cautions': [without] if missing else []}
    return Score(suite.name, figures, {}, about | settings)
