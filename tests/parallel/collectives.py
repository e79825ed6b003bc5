"""What a compiled program sends between devices."""

import collections
import re

COLLECTIVE = re.compile(r' (all-to-all|all-gather|all-reduce|reduce-scatter|collective-permute)(?:-start)?\(')


def collectives(compiled):
    """How often each kind stands in a program; loops count once."""
    return collections.Counter(COLLECTIVE.findall(compiled.as_text()))
