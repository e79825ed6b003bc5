"""Which files of a folder are videos, and what else lies there: one walk for training, inspecting and building."""

import collections
import dataclasses
import heapq
import os
import unicodedata
from collections.abc import Mapping

EXTENSIONS = (
    '.mp4', '.m4v', '.mov', '.avi', '.webm', '.mkv', '.gif', '.webp', '.apng', '.ts', '.m2ts', '.mts', '.flv', '.wmv',
    '.asf', '.3gp', '.3g2', '.mpg', '.mpeg',
)  # fmt: skip
SIDES = '.json', '.txt'  # files beside a video, of its name, that say what is in it
HIDDEN, LINKED, UNREADABLE, STILL = 'hidden', 'linked folder', 'unreadable folder', 'still .webp'


@dataclasses.dataclass(frozen=True)
class Folder:
    """What lies in a folder and below: paths relative to it, with / between folders, sorted.

    Attributes:
      videos: files that end as videos do. A .webp that says it is one picture is none: it is a thumbnail.
      sides: of each video that has them, its NAME.json and NAME.txt.
      others: how many files are neither, by ending; under HIDDEN how many files and folders are hidden.
      links: folders that are links and were not entered.
      unreadable: {folder that cannot be read: why}.
    """

    videos: tuple[str, ...]
    sides: Mapping[str, tuple[str, ...]]
    others: Mapping[str, int]
    links: tuple[str, ...]
    unreadable: Mapping[str, str]

    def side_counts(self) -> dict[str, int]:
        """How many files lie beside videos and say what is in them, by ending."""
        files = {file for own in self.sides.values() for file in own}
        return _sorted(collections.Counter(_ending(file) for file in files))

    def passed_over_counts(self, captions: bool = False) -> dict[str, int]:
        """How much of each kind is no video; captions: with the files beside videos."""
        counts = collections.Counter(self.others)
        counts.update({LINKED: len(self.links), UNREADABLE: len(self.unreadable)})
        if captions:
            counts.update(self.side_counts())
        return _sorted(counts)


def look(root: str, follow_links: bool = False) -> Folder:
    """Looks at all of a folder.

    Files that are links are files. Folders that are links are entered with `follow_links` alone, after all that lies in
    the folder itself and in the order of their names; no folder is entered twice, by whatever names it is reached.
    """
    videos, sides, others, links, unreadable = [], {}, collections.Counter(), [], {}
    for place, files, hidden in _walk(root, follow_links, links, unreadable):
        mine = [name for name in files if name.lower().endswith(EXTENSIONS)]
        still = {name for name in mine if is_still(os.path.join(root, place, name))}
        by_form = {unicodedata.normalize('NFC', name): name for name in files} | {name: name for name in files}
        beside = set()
        for name in mine:
            if name in still:
                continue
            videos.append(place + name)
            if own := _beside(name, by_form):
                sides[place + name] = tuple(place + each for each in own)
                beside.update(own)
        others[HIDDEN] += hidden
        others[STILL] += len(still)
        others.update(_ending(name) for name in set(files) - set(mine) - beside)
    return Folder(tuple(sorted(videos)), sides, _sorted(others), tuple(sorted(links)), unreadable)


def _walk(root, follow_links, links, unreadable):
    """Yields (place, names of its files, how many of it are hidden) of a folder and those below; place: '' or with a /
    at its end. links, unreadable: take what Folder has of them.
    """
    folders, waiting = [('', os.path.realpath(root))], []
    entered = {os.path.realpath(root)}
    while folders or waiting:
        if folders:
            inside, real = folders.pop()
        else:
            inside = heapq.heappop(waiting)
            real = os.path.realpath(os.path.join(root, inside))
            if not follow_links or real in entered:
                links.append(inside)
                continue
            entered.add(real)

        try:
            with os.scandir(os.path.join(root, inside)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            unreadable[inside] = error.strerror
            continue

        place = f'{inside}/' if inside else ''
        shown = [entry for entry in entries if not entry.name.startswith('.')]
        files = []
        for entry in shown:
            if not _is_folder(entry):
                files.append(entry.name)
            elif entry.is_symlink():
                heapq.heappush(waiting, place + entry.name)
            elif (below := os.path.join(real, entry.name)) not in entered:
                entered.add(below)
                folders.append((place + entry.name, below))
        yield place, files, len(entries) - len(shown)


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def is_still(path: str) -> bool:
    """Whether a file is a WebP that says it is one picture. Such lie beside downloaded videos, as their thumbnails."""
    if not path.lower().endswith('.webp') or not os.path.isfile(path):  # a pipe would be waited for
        return False
    try:
        with open(path, 'rb') as file:
            head = file.read(21)
    except OSError:
        return False
    if head[:4] != b'RIFF' or head[8:12] != b'WEBP' or len(head) < 21:
        return False
    return head[12:16] in (b'VP8 ', b'VP8L') or head[12:16] == b'VP8X' and not head[20] & 2  # of which 2 is animation


def describe_counts(counts: Mapping[str, int]) -> str:
    """Such as '2 .srt, 1 hidden, 3 linked folders'."""
    words = []
    for kind, count in counts.items():
        plural = 's' if kind in (LINKED, UNREADABLE) and count > 1 else ''
        words.append(f'{count} {kind}{plural}')
    return ', '.join(words)


def _beside(name, by_form):
    """The files of SIDES that belong to a video, whichever Unicode normal form their names have."""
    stem = os.path.splitext(name)[0]
    wanted = [stem + ending for ending in SIDES]
    found = (by_form.get(side) or by_form.get(unicodedata.normalize('NFC', side)) for side in wanted)
    return [side for side in found if side is not None]


def _ending(name):
    return os.path.splitext(name)[1].lower() or 'no ending'


def _sorted(counts):
    return {kind: counts[kind] for kind in sorted(counts) if counts[kind]}
