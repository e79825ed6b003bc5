"""huggingface_hub itself, where it is installed, against a hub on loopback."""

import hashlib
import http.server
import importlib.util
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.pretrained.small_packages import safetensors_bytes

REVISION = 'c' * 40
SCRIPT = """
import sys
from vdm_jax import cli
from vdm_jax.pretrained import available
entry = available.HubWeights('hub', 'tests', 'MIT', 'owner/name', '{revision}', 'model.safetensors', '{sha256}', {size})
available.AVAILABLE['hub'] = entry
sys.exit(cli.main(['weights', 'fetch', 'hub']))
"""


@pytest.fixture
def hub():
    """A server of one file at one revision; (its address, the file, paths that were asked for)."""
    content = safetensors_bytes({'conv.weight': np.ones((2, 3), np.float32)})
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            is_there = self.path == f'/owner/name/resolve/{REVISION}/model.safetensors'
            self.send_response(200 if is_there else 404)
            self.send_header('Content-Length', str(len(content) if is_there else 0))
            self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header('X-Repo-Commit', REVISION)
            self.end_headers()
            if is_there and self.command == 'GET':
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}', content, requests
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('huggingface_hub') is None, reason='huggingface_hub is not installed')
def test_a_file_comes_at_its_revision(hub, tmp_path):
    address, content, requests = hub
    sha256 = hashlib.sha256(content).hexdigest()

    def fetch(endpoint, sha256):
        script = SCRIPT.format(revision=REVISION, sha256=sha256, size=len(content))
        environment = {
            **os.environ,
            'HF_ENDPOINT': endpoint,
            'HF_HOME': str(tmp_path / 'hf'),
            'NO_PROXY': '127.0.0.1',
            'XDG_CACHE_HOME': str(tmp_path),
        }
        command = [sys.executable, '-c', script]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    other = fetch(address, '0' * 64)
    assert other.returncode == 2 and 'is not the file that is known' in other.stderr, other
    absent = fetch('http://127.0.0.1:9', sha256)
    assert absent.returncode == 1 and 'owner/name cannot be had from the hub' in absent.stderr.splitlines()[-1], absent
    assert list((tmp_path / 'vdm_jax' / 'weights').iterdir()) == []
    done = fetch(address, sha256)
    assert done.returncode == 0 and 'hub.safetensors' in done.stdout, done
    assert [path.name for path in (tmp_path / 'vdm_jax' / 'weights').iterdir()] == ['hub.safetensors']
    assert any(REVISION in path for path in requests)
