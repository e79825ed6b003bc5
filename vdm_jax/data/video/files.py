"""Which files of a folder are videos, and what else lies there: one walk for training, inspecting and building."""

import collections
import dataclasses
import heapq
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

EXTENSIONS = (
    '.mp4', '.m4v', '.mov', '.avi', '.webm', '.mkv', '.gif', '.webp', '.apng', '.ts', '.m2ts', '.mts', '.flv', '.wmv',
    '.asf', '.3gp', '.3g2', '.mpg', '.mpeg',
)  # fmt: skip
SIDES = '.json', '.txt'  # files beside a video, of its name, that say what is in it
# Kinds of what is no video, beside the endings of files.
HIDDEN = 'hidden'
LINKED = 'linked folder'
UNREADABLE = 'unreadable folder'
STILL = 'still .webp'


@dataclasses.dataclass(frozen=True)
class Folder:
    """What lies in a folder and below: paths relative to it, with / between folders, sorted.

    Attributes:
      videos: Files that end as videos do. A .webp that says it is one picture is none: it is a thumbnail.
      sides: Of each video that has them, its NAME.json and NAME.txt.
      others: How many files are neither, by ending; under HIDDEN how many files and folders are hidden.
      links: Folders that are links and were not entered.
      unreadable: Why a folder cannot be read, by its path.
    """

    videos: tuple[str, ...]
    sides: Mapping[str, tuple[str, ...]]
    others: Mapping[str, int]
    links: tuple[str, ...]
    unreadable: Mapping[str, str]

    def side_counts(self) -> dict[str, int]:
        """Count by ending the files that lie beside videos and say what is in them."""
        files = {file for own in self.sides.values() for file in own}
        return _sort_counts(collections.Counter(_ending(file) for file in files))

    def passed_over_counts(self, captions: bool = False) -> dict[str, int]:
        """Count by kind what is no video.

        captions: Whether files beside videos count as well.
        """
        counts = collections.Counter(self.others)
        counts.update({LINKED: len(self.links), UNREADABLE: len(self.unreadable)})
        if captions:
            counts.update(self.side_counts())
        return _sort_counts(counts)


def describe_no_video(folder: 'Folder', endings: Sequence[str] = EXTENSIONS) -> str:
    """Say that a folder holds no video, which endings videos have, and what lies there instead."""
    passed_over = describe_counts(folder.passed_over_counts())
    instead = f'; passed over: {passed_over}' if passed_over else ''
    return f'holds no video ({", ".join(ending[1:] for ending in endings)}){instead}'


def list_folder(root: str, follow_links: bool = False) -> Folder:
    """List all of a folder.

    Files that are links are files. Folders that are links are entered only with `follow_links`, after all that lies in
    the folder itself and in the order of their names; no folder is entered twice, by whatever names it is reached.
    """
    videos: list[str] = []
    sides: dict[str, tuple[str, ...]] = {}
    others: collections.Counter[str] = collections.Counter()
    links: list[str] = []
    unreadable: dict[str, str] = {}
    for prefix, files, hidden_count in _walk(root, follow_links, links, unreadable):
        with_video_ending = [name for name in files if name.lower().endswith(EXTENSIONS)]
        stills = {name for name in with_video_ending if is_still(os.path.join(root, prefix, name))}
        # The name as it is wins over another one of the same normal form.
        by_form = {unicodedata.normalize('NFC', name): name for name in files} | {name: name for name in files}
        side_files: set[str] = set()
        for name in with_video_ending:
            if name in stills:
                continue
            videos.append(prefix + name)
            own_sides = _find_sides(name, by_form)
            if own_sides:
                sides[prefix + name] = tuple(prefix + side for side in own_sides)
                side_files.update(own_sides)

        others[HIDDEN] += hidden_count
        others[STILL] += len(stills)
        others.update(_ending(name) for name in set(files) - set(with_video_ending) - side_files)
    return Folder(tuple(sorted(videos)), sides, _sort_counts(others), tuple(sorted(links)), unreadable)


def _walk(
    root: str, follow_links: bool, links: list[str], unreadable: dict[str, str]
) -> Iterator[tuple[str, list[str], int]]:
    """Yield (prefix, names of its files, how many entries are hidden) of a folder and of those below.

    A prefix is '' or a path with a / at its end. links and unreadable take what Folder has under these names.
    """
    real_root = os.path.realpath(root)
    folders = [('', real_root)]
    waiting: list[str] = []  # links to folders, which come when nothing else is left
    entered = {real_root}
    while folders or waiting:
        if folders:
            path, real_path = folders.pop()
        else:
            # By name: of several links to one folder the same one is entered on every machine.
            path = heapq.heappop(waiting)
            real_path = os.path.realpath(os.path.join(root, path))
            if not follow_links or real_path in entered:
                links.append(path)
                continue
            entered.add(real_path)

        try:
            with os.scandir(os.path.join(root, path)) as entries_of_folder:
                entries = sorted(entries_of_folder, key=lambda entry: entry.name)
        except OSError as error:
            unreadable[path] = error.strerror or str(error)
            continue

        prefix = f'{path}/' if path else ''
        visible = [entry for entry in entries if not entry.name.startswith('.')]
        files = []
        for entry in visible:
            if not _is_folder(entry):
                files.append(entry.name)
            elif entry.is_symlink():
                heapq.heappush(waiting, prefix + entry.name)
            # A folder that is no link really lies where its name says, so that only links
            # are resolved: that costs a call a level.
            elif (below := os.path.join(real_path, entry.name)) not in entered:
                entered.add(below)
                folders.append((prefix + entry.name, below))
        yield prefix, files, len(entries) - len(visible)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def is_still(path: str) -> bool:
    """Return whether a file is a WebP that says it is one picture: thumbnails of downloaded videos are."""
    # A pipe of such a name would be waited for.
    if not path.lower().endswith('.webp') or not os.path.isfile(path):
        return False
    try:
        with open(path, 'rb') as file:
            head = file.read(21)
    except OSError:
        return False
    if head[:4] != b'RIFF' or head[8:12] != b'WEBP' or len(head) < 21:
        return False
    # Of the extended format, one of the flags is animation.
    kind = head[12:16]
    is_simple = kind in (b'VP8 ', b'VP8L')
    is_extended_still = kind == b'VP8X' and not head[20] & 2
    return is_simple or is_extended_still


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return counts in words, such as '2 .srt, 1 hidden, 3 linked folders'."""
    words = []
    for kind, count in counts.items():
        plural = 's' if kind in (LINKED, UNREADABLE) and count > 1 else ''
        words.append(f'{count} {kind}{plural}')
    return ', '.join(words)


def _find_sides(name: str, by_form: Mapping[str, str]) -> list[str]:
    """Return the files of SIDES that belong to a video, whichever Unicode normal form their names have."""
    stem = os.path.splitext(name)[0]
    sides = []
    for ending in SIDES:
        side = stem + ending
        match = by_form.get(side) or by_form.get(unicodedata.normalize('NFC', side))
        if match is not None:
            sides.append(match)
    return sides


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower() or 'no ending'


def _sort_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts that are not 0, in the order of their kinds."""
    return {kind: counts[kind] for kind in sorted(counts) if counts[kind]}
