"""A bucket as a real server: gcp-storage-emulator on loopback, with what it lacks of Google's store.

That emulator speaks HTTP as the clients do (gcsfs under etils.epath, TensorStore under Orbax, google-cloud-storage),
but knows no conditions on generations, which OCDBT's manifest is kept whole by, no bounds and no pages of a listing,
and answers one connection at a time. Those are here, and faults: what requests are answered with instead.
"""

import contextlib
import json
import logging
import re
import sys
import threading
from collections.abc import Callable
from functools import partial
from http import server
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.handlers.objects import _checksums, _make_object_resource
from gcp_storage_emulator.server import RequestHandler, Router, _read_raw_data
from gcp_storage_emulator.storage import Storage

PAGE = 50  # objects of a page of a listing; the real store has 1,000
FAULT = 'a fault of the test'

logging.getLogger('gcp_storage_emulator').setLevel(logging.CRITICAL)  # it logs every object that is not there


class Memory(Storage):
    """Objects in memory only: what is deleted is gone, and no index of them is written at each change."""

    def __init__(self):
        super().__init__(use_memory_fs=True)

    def _write_config_to_file(self):
        pass

    def _bucket_soft_delete_retention_seconds(self, bucket_name):
        return 0


class Bucket:
    """One bucket and its server, {object's name: its bytes} to a test that looks inside.

    Attributes:
      url: of the server, for clients' environments.
      fault: asked for every request with (method, path and query); a status to answer with instead, or None.
      requests: (method, path and query) of every request so far.
    """

    def __init__(self, name: str = 'bucket'):
        self.name = name
        self.storage = Memory()
        self.lock = threading.RLock()

        self.fault: Callable[[str, str], int | None] = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        buckets.create_bucket(name, self.storage)
        self._server = Server(('127.0.0.1', 0), partial(Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """What sends every client of this bucket's scheme here, and keeps them from looking for credentials."""
        return {
            'STORAGE_EMULATOR_HOST': self.url,
            'TENSORSTORE_GCS_HTTP_URL': self.url,
            'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'token',
            'GOOGLE_CLOUD_PROJECT': 'project',
            'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
            'NO_GCE_CHECK': 'true',
        }

    def __iter__(self):
        with self.lock:
            return iter(sorted(self.storage.objects.get(self.name, {})))

    def __getitem__(self, name: str) -> bytes:
        with self.lock:
            return self.storage.get_file(self.name, name)

    def __setitem__(self, name: str, content: bytes) -> None:
        about = _make_object_resource(self.url, self.name, name, 'application/octet-stream', str(len(content)))
        with self.lock:
            self.storage.create_file(self.name, name, content, _checksums(content, about))

    def __delitem__(self, name: str) -> None:
        with self.lock:
            self.storage.delete_file(self.name, name)

    def below(self, folder: str) -> list[str]:
        """Names of the objects below a folder."""
        return [name for name in self if name.startswith(f'{folder}/')]

    def generation(self, bucket: str, name: str) -> int:
        """The number of an object's version, 0 where there is none."""
        return int(self.storage.objects.get(bucket, {}).get(name, {}).get('generation', 0))


class Server(server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Ignore clients that hang up before they have their response."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(RequestHandler):
    """One request: a fault, a refusal by its conditions, a listing, or what the emulator makes of it."""

    def __init__(self, bucket: Bucket, *args):
        self.bucket = bucket
        self.version = 0
        super().__init__(bucket.storage, *args)

    def do_GET(self):  # noqa: N802, as http.server wants it
        self.answer('GET')

    def do_POST(self):  # noqa: N802
        self.answer('POST')

    def do_PUT(self):  # noqa: N802
        self.answer('PUT')

    def do_PATCH(self):  # noqa: N802
        self.answer('PATCH')

    def do_DELETE(self):  # noqa: N802
        self.answer('DELETE')

    def answer(self, method: str) -> None:
        self.bucket.requests.append((method, self.path))
        with self.bucket.lock:
            status = self.bucket.fault(method, self.path)
            if status is None:
                self.serve(method)
        if status is not None:
            _read_raw_data(self)
            self.refuse(status, FAULT)

    def serve(self, method: str) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        bucket, name = object_of(url.path, query)
        self.version = version = self.bucket.generation(bucket, name)
        if int(query.get('ifGenerationMatch', version)) != version:
            _read_raw_data(self)
            self.refuse(412, 'conditionNotMet')
        elif int(query.get('ifGenerationNotMatch', -1)) == version:
            self.refuse(304 if method == 'GET' else 412, 'conditionNotMet')
        elif method == 'GET' and bucket and not name and url.path.endswith('/o') and bucket in self.storage.buckets:
            self.send(200, listing(self.storage, bucket, query))
        elif method == 'GET' and version and self.starts_past(bucket, name):
            self.refuse(416, 'requestedRangeNotSatisfiable')
        else:
            Router(self).handle(method)

    def starts_past(self, bucket: str, name: str) -> bool:
        """Whether the range of bytes that is wanted begins behind the object's last one."""
        first = re.match(r'bytes=(\d+)-', self.headers.get('Range', ''))
        return bool(first) and int(first[1]) >= len(self.storage.get_file(bucket, name))

    def end_headers(self):
        if self.version:
            self.send_header('x-goog-generation', str(self.version))
        super().end_headers()

    def refuse(self, status: int, why: str) -> None:
        self.send(status, {'error': {'code': status, 'message': why, 'errors': [{'reason': why, 'message': why}]}})

    def send(self, status: int, value: dict) -> None:
        content = b'' if status == 304 else json.dumps(value).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def object_of(path: str, query: dict) -> tuple[str, str]:
    """(bucket, object) that a request is about, '' where it is about none."""
    match = re.search(r'/b/([^/]+)(?:/o(?:/(.+))?)?$', path)
    if not match:
        return '', ''
    return unquote(match[1]), unquote(match[2] or '') or query.get('name', '')


def listing(storage: Storage, bucket: str, query: dict) -> dict:
    """A page of a bucket's objects, and of the folders that `delimiter` makes of their names."""
    prefix = query.get('prefix', '')
    delimiter = query.get('delimiter')
    objects = storage.objects.get(bucket, {})
    entries = {}
    for name in objects:
        if name.startswith(prefix) and query.get('startOffset', '') <= name:
            if 'endOffset' not in query or name < query['endOffset']:
                head, mark, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, '', '')
                entries[prefix + head + mark if mark else name] = bool(mark)
    names = [name for name in sorted(entries) if name > query.get('pageToken', '')]
    page = names[: min(PAGE, int(query.get('maxResults', PAGE)))]
    answer = {'kind': 'storage#objects', 'prefixes': [name for name in page if entries[name]]}
    answer['items'] = [objects[name] for name in page if not entries[name]]
    return answer | ({'nextPageToken': page[-1]} if len(page) < len(names) else {})


def forget_clients() -> None:
    """Has clients of this process look at their environment anew."""
    import gcsfs
    from etils.epath.backend import fsspec_backend
    from orbax.checkpoint._src.path import gcs_utils

    fsspec_backend._get_filesystem.cache_clear()
    gcsfs.GCSFileSystem.clear_instance_cache()
    gcs_utils.get_bucket.cache_clear()


@contextlib.contextmanager
def serve(name: str = 'bucket'):
    """A bucket that clients of this process, and those of processes it starts, are sent to."""
    bucket = Bucket(name)
    with pytest.MonkeyPatch.context() as patched:
        for key, value in bucket.environment().items():
            patched.setenv(key, value)
        forget_clients()
        try:
            yield bucket
        finally:
            bucket.close()
            forget_clients()
