"""An object store in memory, which paths that begin with fake:// are in once this is imported."""

import io
import pathlib
import types

from etils import epath


class FakeStore(pathlib.PurePosixPath):
    """fake://…: an object store in memory. Whole objects only: no append, no rename, no lock, no folders."""

    objects = {}

    def __str__(self):
        return 'fake://' + '/'.join(self.parts[1:])

    __fspath__ = __str__

    def exists(self):
        return self.is_file() or self.is_dir()

    def is_file(self):
        return str(self) in self.objects

    def is_dir(self):
        return any(name.startswith(f'{self}/') for name in self.objects)

    def iterdir(self):
        names = {name.removeprefix(f'{self}/').split('/')[0] for name in self.objects if name.startswith(f'{self}/')}
        return iter([self / name for name in sorted(names)])

    def mkdir(self, parents=False, exist_ok=False):
        pass

    def stat(self):
        return types.SimpleNamespace(length=len(self.read_bytes()), is_directory=False)

    def read_bytes(self):
        return self.objects[str(self)]

    def open(self, mode):
        assert mode == 'rb'
        try:
            return io.BytesIO(self.read_bytes())
        except KeyError:
            raise FileNotFoundError(str(self)) from None

    def read_text(self):
        return self.read_bytes().decode()

    def write_bytes(self, data):
        self.objects[str(self)] = bytes(data)

    def write_text(self, text):
        self.write_bytes(text.encode())

    def unlink(self):
        del self.objects[str(self)]

    def rmtree(self):
        for name in [name for name in self.objects if name.startswith(f'{self}/')]:
            del self.objects[name]


epath.register_path_cls('fake://')(FakeStore)
