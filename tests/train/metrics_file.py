"""What a run has written into its metrics.jsonl."""

import json

from etils import epath


def strict(text):
    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def lines_in(place):
    """The file's lines, each of which is JSON as other programs read it: no NaN, no Infinity."""
    return [strict(line) for line in (epath.Path(place) / 'metrics.jsonl').read_text().splitlines()]


def curve(place, name):
    """{step: value} of one metric."""
    return {line['step']: line[name] for line in lines_in(place) if name in line}
