"""Headless Chromium, spoken to through a pipe: no driver, no port, no package but the browser itself."""

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
OPTIONS = (
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--hide-scrollbars',
    '--no-first-run',
    '--disable-extensions',
)


class Browser:
    """A page in a browser of its own.

    Attributes:
      errors: What the console and the page's scripts complained of.
      requests: Addresses that the page asked for, beside its own.
    """

    def __init__(self, width=1280, height=900, dark=False):
        self.errors = []
        self.requests = []
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        from_browser, browser_writes = os.pipe()
        browser_reads, to_browser = os.pipe()

        def wire():
            # Both beyond 4 first: a pipe's own ends may be 3 or 4.
            reads, writes = os.dup2(browser_reads, 20), os.dup2(browser_writes, 21)
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        size = f'--window-size={width},{height}'
        command = [
            CHROMIUM,
            *OPTIONS,
            size,
            f'--user-data-dir={self._profile.name}',
            '--remote-debugging-pipe',
            'about:blank',
        ]
        self._process = subprocess.Popen(
            command, preexec_fn=wire, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(browser_reads), os.close(browser_writes)
        self._read, self._write = from_browser, to_browser
        self._buffer = b''
        self._number = 0
        self._session = None
        self._loaded = False
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = 'dark' if dark else 'light'
        self.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._read), os.close(self._write)
        self._profile.cleanup()

    def call(self, method, **arguments):
        """Send a command of the DevTools protocol; return its result."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': arguments}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']

    def _receive(self, seconds=60):
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], seconds)
            assert ready, 'the browser does not answer'
            piece = os.read(self._read, 2**20)
            assert piece, 'the browser has ended'
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b'\0')
        message = json.loads(text)
        self._note(message.get('method'), message.get('params', {}))
        return message

    def _note(self, method, about):
        if method == 'Runtime.exceptionThrown':
            details = about['exceptionDetails']
            self.errors.append(details.get('exception', {}).get('description', details['text']))
        elif method == 'Runtime.consoleAPICalled' and about['type'] in ('error', 'warning', 'assert'):
            self.errors.append(
                f'{about["type"]}: {[arg.get("value", arg.get("description")) for arg in about["args"]]}'
            )
        elif method == 'Log.entryAdded' and about['entry']['level'] in ('error', 'warning'):
            self.errors.append(about['entry']['text'])
        elif method == 'Network.requestWillBeSent':
            address = about['request']['url']
            if not address.startswith(('data:', 'blob:', 'about:')):
                self.requests.append(address)
        elif method == 'Page.loadEventFired':
            self._loaded = True

    def open(self, path):
        """Open a file, until it is loaded."""
        self._loaded = False
        address = pathlib.Path(path).resolve().as_uri()
        self.call('Page.navigate', url=address)
        while not self._loaded:
            self._receive()
        self.requests.remove(address)

    def evaluate(self, expression):
        """Return the JSON value of an expression of JavaScript; promises are waited for."""
        result = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def wait(self, expression, seconds=20):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < end, f'not true in time: {expression}; {self.errors}'
            time.sleep(0.05)

    def press(self, key):
        """Press a key."""
        text = key if len(key) == 1 else ''
        for kind in ('keyDown', 'keyUp'):
            self.call(
                'Input.dispatchKeyEvent', type=kind, key=key, **({'text': text} if text and kind == 'keyDown' else {})
            )

    def move(self, x, y):
        """Move the mouse."""
        self.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)

    def drag(self, start, end):
        """Press the mouse at one point and release it at another."""
        for kind, (x, y) in (
            ('mouseMoved', start),
            ('mousePressed', start),
            ('mouseMoved', end),
            ('mouseReleased', end),
        ):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1, buttons=1)

    def screenshot(self, path, full=False):
        """Write a picture of what is seen, or of the full page."""
        answer = self.call('Page.captureScreenshot', format='png', captureBeyondViewport=full)
        pathlib.Path(path).write_bytes(base64.b64decode(answer['data']))
