"""Several rows of a list that are of one video: several captions of it, as MSR-VTT and others write them."""

import dataclasses
from collections.abc import Iterable

from data_pipelines.inputs.fields import unique_captions

# problems of a row that leave the other rows of its video as they are
CAPTIONS_ALONE = 'bad_caption', 'bad_json', 'encoding'


def merge_rows(items: Iterable) -> list:
    """The Items with those of one name made one, with the captions of all.

    A row that says something else of its video than an earlier one cannot be used, nor one behind a row that cannot;
    one that cannot for the same reason is no other input.
    """
    first, found = {}, []
    for item in items:
        at = first.get(item.name)
        if is_caption_problem(item):  # a row whose caption cannot be read costs that caption alone
            found.append(item)
        elif at is None:
            first[item.name] = len(found)
            found.append(item)
        elif item.problem and item.problem == found[at].problem:
            continue  # each row of a video that is not there says so
        elif item.problem or found[at].problem:
            again = 'listed_twice: an earlier row of this video cannot be used; mend that one'
            found.append(dataclasses.replace(item, problem=item.problem or again))
        elif difference := _difference(found[at], item):
            found.append(dataclasses.replace(item, problem=f'listed_twice: {difference}'))
        else:
            found[at] = _both(found[at], item)
    return found


def is_caption_problem(item) -> bool:
    """Whether only the caption of a row cannot be used."""
    return item.problem.partition(':')[0] in CAPTIONS_ALONE


def _difference(first, item):
    """What two rows of one video say differently, '' where they agree or one says nothing."""
    values = [(name, getattr(first, name), getattr(item, name)) for name in ('label', 'label_name', 'split')]
    values += [(name, first.scores.get(name), value) for name, value in item.scores.items()]
    for name, before, now in values:
        if before not in (None, '') and now not in (None, '') and before != now:
            return (
                f'its {name} is {now!r} in this row and {before!r} in an earlier one of this video; several rows may '
                'differ in their captions alone'
            )
    if (first.path, first.start, first.end, first.stills) != (item.path, item.start, item.end, item.stills):
        return 'an earlier row has this name; nothing tells the two apart'
    return ''


def _both(first, item):
    """One Item of two rows that agree."""
    fields = {name: getattr(first, name) or getattr(item, name) for name in ('label_name', 'split')}
    fields['label'] = item.label if first.label is None else first.label
    fields['scores'] = dict(sorted({**item.scores, **first.scores}.items()))
    return dataclasses.replace(first, captions=unique_captions(first.captions + item.captions), **fields)
